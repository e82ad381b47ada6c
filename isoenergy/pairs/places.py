"""What a source's name stands for: files that may lie anywhere, found by name, folder, list or glob."""

import glob
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError, in_brief
from isoenergy.pairs.source_names import MAGIC, expanded, is_pattern, listed_names, listed_places, literal_folder
from isoenergy.storage.files import absolute_uri, object_tag, open_filesystem, without_secrets

_PASSED_OVER = (".", "_")  # with these the names of folders begin that programs leave beside their output
_OF_THE_DISK = "lost+found"


def find_files(filesystem: AbstractFileSystem, root: str) -> list[str]:
    """Return the paths, relative to `root` and sorted, of the files in it and below.

    On a disk, links to files and folders are followed, wherever they lead; a folder is listed once, under its own name
    if that is below `root`, however many links lead to it. What programs leave beside their output is passed over:
    names with a leading dot, folders with a leading underscore, and the empty objects that stand for a folder in a
    bucket. Raises InputError if a folder cannot be listed.
    """
    if isinstance(filesystem, LocalFileSystem):
        return sorted(filter(is_shown, _walked(root)))
    found = (path[len(root) :].lstrip("/") for path in filesystem.find(root))
    return sorted(filter(is_shown, found))


def _walked(root: str) -> Iterator[str]:
    """Yield the files in a folder and below: first all that no link leads to, then what each link adds."""
    folders, links = [""], deque[str]()
    met: set[tuple[int, int]] = set()
    while folders or links:
        within = folders.pop() if folders else links.popleft()
        folder = f"{root}/{within}"
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in met:
                continue
            met.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{folder} cannot be listed ({error.strerror}); make it readable, or move it") from error
        for entry in entries:
            if not os.path.isdir(entry.path):
                yield within + entry.name
            elif not entry.name.startswith(_PASSED_OVER) and entry.name != _OF_THE_DISK:
                (links if entry.is_symlink() else folders).append(f"{within}{entry.name}/")


@dataclass(frozen=True)
class Place:
    """What lies where a source is said to be."""

    filesystem: AbstractFileSystem
    root: str
    """The folder that all of it is in."""
    named: list[str]
    """Files that were named themselves, relative to `root`."""
    found: list[str]
    """Files that lie in the folders that were named, or that a glob matched."""
    matched: Collection[str] = ()
    """Those of `found` that a glob matched themselves, of folders that may hold others."""


def place_of(uri: str) -> Place:
    """Return what a source's name stands for: a file, a folder, or several by lists, braces and globs.

    Raises InputError if something that is named is not there, a glob matches nothing, or the filesystems differ.
    """
    uris = listed_places(uri)
    if not any(listed.strip(", ") for listed in uris):
        raise InputError(f"the name of the source is empty ({uri!r}); give a file or a folder of image-text pairs")
    if len(uris) == 1:
        filesystem, root = open_filesystem(uri)
        if filesystem.isfile(root):
            folder, _, name = root.rpartition("/")
            return Place(filesystem, folder, [name], [])
        if is_folder(filesystem, root):
            return Place(filesystem, root, [], find_files(filesystem, root))
        if not is_pattern(uri):
            raise _nowhere(uri, uri)
    names = _names(uris)
    opened = [open_filesystem(name) for name in names]
    filesystem = opened[0][0]
    if any(other != filesystem for other, _ in opened):
        raise InputError(f"{uri} lies on several filesystems; give files on one")
    gathered = _Gathered(uri, filesystem)
    for name, (_, path) in zip(names, opened, strict=True):
        gathered.add(name, path)
    return gathered.place()


def _names(uris: Sequence[str]) -> list[str]:
    """Return what is named by lists and braces, but where a name that holds their letters exists."""
    exists = cache(_exists)
    listed = [name for uri in uris for name in ([uri] if exists(uri) else listed_names(uri, exists))]
    return [name for each in listed for name in ([each] if exists(each) else expanded(each, exists))]


class _Gathered:
    """What several names stand for, as far as they have been added."""

    def __init__(self, uri: str, filesystem: AbstractFileSystem) -> None:
        self._uri, self._filesystem = uri, filesystem
        self._listings: dict[str, dict[str, str]] = {}
        self._bases: list[str] = []
        """The folders that what was added lies in."""
        self._named: list[str] = []
        self._found: list[str] = []
        self._matched: set[str] = set()
        """Those that a glob has matched themselves."""

    def add(self, name: str, path: str) -> None:
        """Add the file, the folder or the files of the glob that is called `name` and lies at `path`."""
        kind = _kind(self._filesystem, path, self._listings)
        if kind == "file":
            self._bases.append(path.rpartition("/")[0])
            self._named.append(path)
        elif kind == "directory":
            self._bases.append(path)
            self._found += self._below(path)
        elif magic := MAGIC.search(path, literal := len(literal_folder(path, self._filesystem.isdir))):
            fixed = path[: magic.start()].rpartition("/")[0]
            matched = self._matching(glob.escape(path[:literal]) + path[literal:], fixed)
            if not matched:
                raise InputError(f"{without_secrets(name)} matches nothing; give a pattern that does")
            self._bases.append(fixed)
            self._found += matched
        else:
            raise _nowhere(self._uri, name)

    def _below(self, folder: str) -> list[str]:
        return [f"{folder}/{file}" for file in find_files(self._filesystem, folder)]

    def _matching(self, pattern: str, fixed: str) -> list[str]:
        """Return the files that a glob matches, and those in the folders that it matches, below a folder."""
        matched = set(_matched(self._filesystem, pattern))
        folders = [path for path in matched if self._filesystem.isdir(path)]
        files = sorted(matched.difference(folders))
        self._matched.update(files)
        files += [file for folder in sorted(folders) for file in self._below(folder)]
        return [file for file in files if is_shown(file[len(fixed) :].lstrip("/"))]

    def place(self) -> Place:
        """Return all of it; what was named itself is not found too."""
        root = _common(self._bases)
        gathered = (self._named, self._found, self._matched)
        named, found, matched = ({path[len(root) :].lstrip("/") for path in paths} for paths in gathered)
        return Place(self._filesystem, root, sorted(named), sorted(found - named), frozenset(matched & found - named))


def absolute_source(uri: str) -> str:
    """Return a source's name so that it means the same in a process with another working directory."""
    names: list[str] = []
    for listed in listed_places(uri):
        names += [listed] if _exists(listed) else listed_names(listed, cache(_exists))
    return "::".join(map(absolute_uri, names))


def _exists(uri: str) -> bool:
    filesystem, path = open_filesystem(uri)
    return bool(filesystem.isfile(path)) or is_folder(filesystem, path)


def is_folder(filesystem: AbstractFileSystem, path: str) -> bool:
    """Return whether there is a folder; raises InputError if nobody answers there."""
    try:
        return bool(filesystem.isdir(path))
    except InputError:
        raise
    except Exception as error:  # each filesystem has exceptions of its own
        raise InputError(f"{without_secrets(path)} cannot be reached ({in_brief(error)})") from error


def _kind(filesystem: AbstractFileSystem, path: str, listings: dict[str, dict[str, str]]) -> str | None:
    """Return whether there is a file or a folder; its folder is listed once for all that are asked for in it."""
    folder, _, name = path.rpartition("/")
    if folder not in listings:
        try:
            entries = filesystem.ls(folder, detail=True)
            listings[folder] = {entry["name"].rstrip("/").rpartition("/")[2]: entry["type"] for entry in entries}
        except Exception:  # whatever cannot be listed, such as the web, can be asked for one by one
            listings[folder] = {}
    kind = listings[folder].get(name)
    if kind not in ("file", "directory") and not (listings[folder] and not isinstance(filesystem, LocalFileSystem)):
        kind = "file" if filesystem.isfile(path) else "directory" if is_folder(filesystem, path) else None
    return kind


def _matched(filesystem: AbstractFileSystem, pattern: str) -> list[str]:
    """Return the files and folders that a glob matches."""
    is_local = isinstance(filesystem, LocalFileSystem)
    return list(glob.glob(pattern, recursive=True) if is_local else filesystem.glob(pattern))


def _common(folders: Sequence[str]) -> str:
    """Return the folder that all are in or are."""
    parts = [folder.split("/") for folder in folders]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    return "/".join(level[0] for level in shared)


def _nowhere(uri: str, name: str) -> InputError:
    of = "" if name == uri else f", of {without_secrets(uri)},"
    return InputError(f"{without_secrets(name)}{of} does not exist; give a file or a folder that does")


def ending(files: Sequence[str], suffixes: Sequence[str], wanted: bool = True) -> list[str]:
    """Return the files whose names end in one of `suffixes`, in any case; those that do not, if not `wanted`."""
    return [file for file in files if file.lower().endswith(tuple(suffixes)) == wanted]


def listed_tags(filesystem: AbstractFileSystem, root: str) -> dict[str, str]:
    """Return `object_tag` of the files below `root` by their path there, by listing it; none where it is no S3."""
    if "s3" not in filesystem.protocol:
        return {}
    found = filesystem.find(root, detail=True)
    return {path[len(root) :].lstrip("/"): object_tag(entry) for path, entry in found.items()}


def require_utf8(uri: str, files: Sequence[str]) -> None:
    """Raise InputError if a file's name is not UTF-8."""
    for file in files:
        if any("\udc80" <= letter <= "\udcff" for letter in file):
            raise InputError(f"{uri} holds {file!r}, a name that is not UTF-8; rename it")


def is_shown(path: str) -> bool:
    """Return whether a file is looked at, by its path below the folder that is: see `find_files`."""
    *folders, name = path.split("/")
    return name != "" and not name.startswith(".") and not any(part.startswith(_PASSED_OVER) for part in folders)
