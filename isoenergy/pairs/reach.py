"""Files that may lie anywhere: finding them, and reading them so that what fails is one kind of error."""

import glob
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError, in_brief
from isoenergy.pairs.source_names import MAGIC, expanded, is_pattern, listed_names, listed_places, literal_folder
from isoenergy.storage.files import absolute_uri, object_tag, open_filesystem, without_secrets

_PASSED_OVER = (".", "_")  # with these the names of folders begin that programs leave beside their output
_OF_THE_DISK = "lost+found"


class Unreachable(OSError):
    """A file cannot be opened or read just now, whatever is in it."""


def find_files(filesystem: AbstractFileSystem, root: str) -> list[str]:
    """Return the paths, relative to `root` and sorted, of the files in it and below.

    On a disk, links to files and folders are followed, wherever they lead; a folder is listed once, under its own name
    if that is below `root`, however many links lead to it. What programs leave beside their output is passed over:
    names with a leading dot, folders with a leading underscore, and the empty objects that stand for a folder in a
    bucket. Raises InputError if a folder cannot be listed.
    """
    if isinstance(filesystem, LocalFileSystem):
        return sorted(filter(_shown, _walked(root)))
    found = (path[len(root) :].lstrip("/") for path in filesystem.find(root))
    return sorted(filter(_shown, found))


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
    has_globs: bool = False
    """Whether a glob has matched files, of folders that may hold others."""


def place_of(uri: str) -> Place:
    """Return what a source's name stands for: a file, a folder, or several by lists, braces and globs.

    Raises InputError if something that is named is not there, a glob matches nothing, or the filesystems differ.
    """
    places = listed_places(uri)
    if not any(place.strip(", ") for place in places):
        raise InputError(f"the name of the source is empty ({uri!r}); give a file or a folder of image-text pairs")
    exists = cache(_exists)
    if len(places) == 1:
        filesystem, root = open_filesystem(uri)
        if filesystem.isfile(root):
            folder, _, name = root.rpartition("/")
            return Place(filesystem, folder, [name], [])
        if filesystem.isdir(root):
            return Place(filesystem, root, [], find_files(filesystem, root))
        if not is_pattern(uri):
            raise _nowhere(uri, uri)
    listed = [name for place in places for name in ([place] if exists(place) else listed_names(place, exists))]
    names = [name for each in listed for name in ([each] if exists(each) else expanded(each, exists))]
    opened = [open_filesystem(name) for name in names]
    filesystem = opened[0][0]
    if any(other != filesystem for other, _ in opened):
        raise InputError(f"{uri} lies on several filesystems; give places on one")
    listings: dict[str, dict[str, str]] = {}
    bases, named, found, has_globs = [], [], [], False
    for name, (_, path) in zip(names, opened, strict=True):
        folder = path.rpartition("/")[0]
        kind = _kind(filesystem, path, listings)
        if kind == "file":
            bases.append(folder)
            named.append(path)
        elif kind == "directory":
            bases.append(path)
            found += [f"{path}/{file}" for file in find_files(filesystem, path)]
        elif magic := MAGIC.search(path, literal := len(literal_folder(path, filesystem.isdir))):
            fixed = path[: magic.start()].rpartition("/")[0]
            bases.append(fixed)
            paths = _matched(filesystem, glob.escape(path[:literal]) + path[literal:])
            folders = [matched for matched in paths if filesystem.isdir(matched)]
            matched = sorted(set(paths) - set(folders))
            has_globs |= bool(matched)
            matched += [f"{inner}/{file}" for inner in folders for file in find_files(filesystem, inner)]
            matched = [file for file in matched if _shown(file[len(fixed) :].lstrip("/"))]
            if not matched:
                raise InputError(f"{without_secrets(name)} matches nothing; give a pattern that does")
            found += matched
        else:
            raise _nowhere(uri, name)
    root = _common(bases)
    relative = [[path[len(root) :].lstrip("/") for path in dict.fromkeys(paths)] for paths in (named, found)]
    return Place(filesystem, root, sorted(relative[0]), sorted(set(relative[1]) - set(relative[0])), has_globs)


def absolute_source(uri: str) -> str:
    """Return a source's name so that it means the same in a process with another working directory."""
    names: list[str] = []
    for place in listed_places(uri):
        names += [place] if _exists(place) else listed_names(place, cache(_exists))
    return "::".join(map(absolute_uri, names))


def _exists(place: str) -> bool:
    filesystem, path = open_filesystem(place)
    return bool(filesystem.isfile(path) or filesystem.isdir(path))


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
        kind = "file" if filesystem.isfile(path) else "directory" if filesystem.isdir(path) else None
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
    return InputError(f"{without_secrets(name)}{of} does not exist; give a file or a folder of image-text pairs")


def ending(files: Sequence[str], suffixes: Sequence[str], wanted: bool = True) -> list[str]:
    """Return the files whose names end in one of `suffixes`, in any case; those that do not, if not `wanted`."""
    return [file for file in files if file.lower().endswith(tuple(suffixes)) == wanted]


def source_files(uri: str, suffixes: Sequence[str]) -> tuple[AbstractFileSystem, str, list[str], list[str]]:
    """Return the filesystem, the folder, the files with one of `suffixes` in it, and the others.

    A file that is named itself is taken whatever its suffix. Raises InputError if there are none, or if a name is not
    UTF-8.
    """
    place = place_of(uri)
    files = sorted([*place.named, *ending(place.found, suffixes)])
    others = ending(place.found, suffixes, False)
    if not files:
        also = f" (nor {', '.join(suffixes[1:])})" * (len(suffixes) > 1)
        raise InputError(f"{uri} holds no {suffixes[0]} files{also}; give such a file or a folder of them")
    require_utf8(uri, files)
    return place.filesystem, place.root, files, others


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


def open_file(filesystem: AbstractFileSystem, path: str, **options: Any) -> "ReachedFile":
    """Open a file to read its bytes; raises Unreachable, here and when it is read."""
    try:
        return ReachedFile(filesystem.open(path, "rb", **options), path)
    except Exception as error:  # each filesystem has exceptions of its own
        raise unreachable(path, error) from error


def unreachable(path: str, error: Exception) -> Unreachable:
    """Return the error to raise for one that a filesystem raised."""
    return Unreachable(f"{without_secrets(path)}: {in_brief(error)}")


class ReachedFile(io.RawIOBase):
    """A file of any filesystem; what fails below it is raised as Unreachable."""

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream, self._path = stream, path

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or all that are left."""
        try:
            return self._stream.read(size)
        except Exception as error:
            raise unreachable(self._path, error) from error

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; return how many bytes there were for it."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._stream.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._stream.close()
        super().close()


def _shown(path: str) -> bool:
    *folders, name = path.split("/")
    return name != "" and not name.startswith(".") and not any(part.startswith(_PASSED_OVER) for part in folders)
