"""Triplets for composed retrieval: from a file of anybody's, or from the labels of the bundled pairs."""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem

COLUMNS = ("source", "target", "added", "removed", "group")
_REQUIRED = COLUMNS[:3]
_MOST_TEXTS = 32
_PEOPLE = "people & body"
_TONES = re.compile(r"((?:medium-)?(?:light|dark)|medium) skin tone")
_GENDERED = re.compile(r"(?P<gender>man|woman|person|men|women|people)\b(?! and)[ :]*(?P<role>.*)")
_SINGULAR = {"men": "man", "women": "woman", "people": "person"}
_PROFESSIONS = frozenset(
    [
        "artist",
        "astronaut",
        "construction worker",
        "cook",
        "detective",
        "factory worker",
        "farmer",
        "firefighter",
        "guard",
        "health worker",
        "judge",
        "mechanic",
        "office worker",
        "pilot",
        "police officer",
        "scientist",
        "singer",
        "student",
        "teacher",
        "technologist",
    ]
)


@dataclass(frozen=True)
class Triplet:
    """The image of one pair, what is to change, and the image that is then asked for."""

    source: str
    """Key of the pair."""
    target: str
    added: tuple[str, ...]
    """Texts that say what is to be there, one or more."""
    removed: tuple[str, ...] = ()
    """Texts that say what is to go."""
    group: str = ""
    """Triplets of a group are also reported for themselves."""


def read_triplets(uri: str) -> list[Triplet]:
    """Return the triplets of a Parquet or JSON lines file with columns `source`, `target` and `added`.

    source, target: keys of pairs. added, and if there is one, `removed`: a text or a list of texts. `group`: optional.
    Raises InputError if the file cannot be read, lacks a column, or a row, which it names, lacks what it needs.
    """
    filesystem, path = open_filesystem(uri)
    if not filesystem.isfile(path):
        raise InputError(f"{uri} does not exist; give a .parquet or .jsonl file with {', '.join(_REQUIRED)}")
    with filesystem.open(path, "rb") as stream:
        try:
            is_parquet = path.lower().endswith(".parquet")
            table = pq.read_table(stream) if is_parquet else pj.read_json(stream)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{uri} cannot be read as triplets ({error}); give Parquet or JSON lines") from error
    if missing := [name for name in _REQUIRED if name not in table.schema.names]:
        raise InputError(
            f"{uri} has no column {missing[0]!r}; it has {', '.join(table.schema.names)}; triplets need "
            f"{', '.join(_REQUIRED)}, and may have removed and group"
        )
    rows = table.select([name for name in COLUMNS if name in table.schema.names]).to_pylist()
    if not rows:
        raise InputError(f"{uri} holds no triplets")
    return [_triplet(row, f"{uri}, row {number}") for number, row in enumerate(rows)]


def labelled_triplets(
    keys: Sequence[str], concepts: Sequence[str], bases: Sequence[str], groups: Sequence[str], styles: Sequence[str]
) -> list[Triplet]:
    """Return all triplets among the bundled pairs: two people of one style that differ in one attribute alone.

    concepts: labels ("woman cook: dark skin tone"); bases: those without skin tone; groups: of emoji; styles: who drew
    it. The attribute, skin tone, gender or profession, is the group; its value in the target is added, that in the
    source removed if it has one: the skin tone of yellow people has no name.
    """
    people = [
        (key, style, attributes)
        for key, concept, base, group, style in zip(keys, concepts, bases, groups, styles, strict=True)
        if group == _PEOPLE and (attributes := _attributes(concept, base)) is not None
    ]
    found: list[Triplet] = []
    for name in ("tone", "gender", "profession"):
        alike: dict[tuple[Any, ...], list[tuple[str, str]]] = defaultdict(list)
        for key, style, attributes in people:
            others = tuple(value for other, value in sorted(attributes.items()) if other != name)
            if name in attributes:
                alike[style, *others].append((key, attributes[name]))
        for members in alike.values():
            found += [
                Triplet(source, target, (added,), (removed,) if removed else (), name)
                for (source, removed), (target, added) in itertools.permutations(members, 2)
                if added and added != removed
            ]
    return found


def _attributes(concept: str, base: str) -> dict[str, str] | None:
    """Return tone, gender and profession or other role; None for what shows two tones."""
    tones = _TONES.findall(concept.partition(":")[2])
    if len(tones) > 1:
        return None
    gendered = _GENDERED.fullmatch(base)
    gender, role = (gendered["gender"], gendered["role"]) if gendered else ("", base)
    kind = "profession" if role in _PROFESSIONS else "role"
    tone = f"{tones[0]} skin tone" if tones else ""
    return {"tone": tone, "gender": _SINGULAR.get(gender, gender), kind: role}


def _triplet(row: dict[str, Any], where: str) -> Triplet:
    for name in ("source", "target"):
        if not isinstance(row[name], str | int) or row[name] == "":
            raise InputError(f"{where}: {name} must be the key of a pair, got {row[name]!r}")
    texts = {name: _texts(row.get(name), f"{where}: {name}") for name in ("added", "removed")}
    if not texts["added"]:
        raise InputError(f"{where}: added must be a text or a list of texts, got {row['added']!r}")
    group = row.get("group")
    return Triplet(str(row["source"]), str(row["target"]), group="" if group is None else str(group), **texts)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    texts = tuple(value) if isinstance(value, list) else () if value is None else (value,)
    if not all(isinstance(text, str) for text in texts) or len(texts) > _MOST_TEXTS:
        raise InputError(f"{where} must be a text or a list of at most {_MOST_TEXTS} texts, got {str(value)[:80]}")
    return tuple(text for text in texts if text.strip())
