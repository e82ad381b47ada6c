"""A source's files, of which none may lack: by `data-00002-of-00003.arrow` of others, or by a saved dataset's list."""

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.places import Place, ending, place_of, require_utf8
from isoenergy.pairs.reach import unreachable
from isoenergy.storage.files import without_secrets

_COUNTED = re.compile(r"(.*?)(\d{1,9})([-_.]of[-_.])(\d{1,9})(-[0-9a-f]+)?(\.[^/]*)?", re.DOTALL)
_STATE, _SPLITS, _OF_DATASETS = "state.json", "dataset_dict.json", ".arrow"
_MOST_JSON = 2**26
_SHOWN = 3


def source_files(uri: str, suffixes: Sequence[str]) -> tuple[AbstractFileSystem, str, list[str], list[str]]:
    """Return the filesystem, the folder, the files with one of `suffixes` in it, and the others.

    A file that is named itself is taken whatever its suffix. Raises InputError if there are none, if one lacks (see
    `expected_files`), or if a name is not UTF-8.
    """
    place = place_of(uri)
    files = expected_files(uri, place, sorted([*place.named, *ending(place.found, suffixes)]))
    others = sorted({*place.found}.difference(files))
    if not files:
        also = f" (nor {', '.join(suffixes[1:])})" * (len(suffixes) > 1)
        raise InputError(f"{uri} holds no {suffixes[0]} files{also}; give such a file or a folder of them")
    require_utf8(uri, files)
    return place.filesystem, place.root, files, others


def expected_files(uri: str, place: Place, files: Sequence[str]) -> list[str]:
    """Return those of a place's files that are to be read: of a saved dataset the ones that it lists.

    Files that were named, or that a glob matched, are what somebody chose; a folder stands for all that belongs in it.
    Raises InputError, naming them, for files of a folder that lack by the names of others or by a dataset's list, and
    for a dataset whose rows an index chooses.
    """
    chosen = {*place.named, *place.matched}
    there = {*place.found}
    arrow: dict[str, set[str]] = {}
    for file in ending(files, (_OF_DATASETS,)):
        if file not in chosen:
            arrow.setdefault(posixpath.dirname(file), set()).add(file)
    lacking: list[str] = []
    unread: set[str] = set()
    for file in place.found:
        folder, name = posixpath.split(file)
        if name == _SPLITS and arrow:
            lacking += _without_files(folder, _content(place, file), place.found)
        elif name == _STATE and folder in arrow:
            content = _content(place, file)
            _require_no_index(uri, folder, content)
            if listed := {posixpath.join(folder, each) for each in _names(content, "_data_files")}:
                lacking += sorted(listed - there)
                unread |= arrow[folder] - listed
    read = [file for file in files if file not in unread]
    lacking += _uncounted({*read} - chosen, {*files} | there)
    if lacking:
        names = list(dict.fromkeys(lacking))
        others = " and others" * (len(names) > _SHOWN)
        raise InputError(
            f"{without_secrets(uri)} lacks {', '.join(names[:_SHOWN])}{others}, which belong to what is there; add "
            f"them, or take what there is, by names or a glob as FOLDER/*{posixpath.splitext(names[0])[1]}"
        )
    return read


def without_count(stem: str) -> str:
    """Return a file's name without suffix, and without what counts its fellows: `img-00002` of `img-00002-of-00003`."""
    found = _COUNTED.fullmatch(stem)
    return "".join(found.group(1, 2)) if found else stem


def _uncounted(files: Iterable[str], there: Iterable[str]) -> list[str]:
    """Return some names that lack where names of files say how many there are; they begin at 0, or at 1."""
    sets: dict[tuple[str | Any, ...], dict[int, int]] = {}
    for found in filter(None, map(_COUNTED.fullmatch, there)):
        sets.setdefault(found.group(1, 3, 4, 6), {})[int(found[2])] = len(found[2])
    lacking: list[str] = []
    for kind in dict.fromkeys(found.group(1, 3, 4, 6) for found in map(_COUNTED.fullmatch, sorted(files)) if found):
        before, of, count, suffix = kind
        numbers = sets[kind]
        first, digits = int(int(count) in numbers), max(numbers.values())
        absent = (number for number in range(first, int(count) + first) if number not in numbers)
        lacking += [f"{before}{number:0{digits}d}{of}{count}{suffix or ''}" for number in islice(absent, _SHOWN + 1)]
    return lacking


def _content(place: Place, file: str) -> Mapping[str, Any]:
    """Return what a dataset's JSON says; nothing, of a file of that name that is none."""
    path = f"{place.root}/{file}"
    try:
        data = place.filesystem.cat_file(path, start=0, end=_MOST_JSON)
    except Exception as error:  # each filesystem has exceptions of its own
        raise unreachable(path, error) from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _names(content: Mapping[str, Any], kind: str) -> list[str]:
    entries = content.get(kind)
    there = entries if isinstance(entries, list) else []
    return [str(entry["filename"]) for entry in there if isinstance(entry, dict) and "filename" in entry]


def _without_files(folder: str, content: Mapping[str, Any], there: Sequence[str]) -> list[str]:
    """Return the folders of a `DatasetDict`'s splits in which nothing is."""
    splits = content.get("splits")
    folders = [posixpath.join(folder, str(split)) for split in splits] if isinstance(splits, list) else []
    return [each for each in folders if not any(file.startswith(f"{each}/") for file in there)]


def _require_no_index(uri: str, folder: str, content: Mapping[str, Any]) -> None:
    if index := _names(content, "_indices_data_files"):
        raise InputError(
            f"{without_secrets(uri)}: {posixpath.join(folder, index[0])} says which rows of a saved dataset count, and "
            f"in which order; save it after dataset.flatten_indices(), so that the rows stand as they count"
        )
