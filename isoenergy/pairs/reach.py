"""Files that may lie anywhere: finding them, and reading them so that what fails is one kind of error."""

import io
from collections.abc import Sequence
from typing import Any

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem


class Unreachable(OSError):
    """A file cannot be opened or read just now, whatever is in it."""


def find_files(filesystem: AbstractFileSystem, root: str) -> list[str]:
    """Return the paths, relative to `root` and sorted, of the files in it and below.

    What programs leave beside their output is passed over: names with a leading dot, folders with a leading
    underscore, and the empty objects that stand for a folder in a bucket.
    """
    found = (path[len(root) :].lstrip("/") for path in filesystem.find(root))
    return sorted(filter(_shown, found))


def ending(files: Sequence[str], suffixes: Sequence[str], wanted: bool = True) -> list[str]:
    """Return the files whose names end in one of `suffixes`, in any case; those that do not, if not `wanted`."""
    return [file for file in files if file.lower().endswith(tuple(suffixes)) == wanted]


def source_files(uri: str, suffixes: Sequence[str]) -> tuple[AbstractFileSystem, str, list[str], list[str]]:
    """Return the filesystem, the folder, the files with one of `suffixes` in it, and the others.

    A source that is one file is that file, alone. Raises InputError if there are none, or if a name is not UTF-8.
    """
    filesystem, root = open_filesystem(uri)
    if filesystem.isfile(root):
        root, _, name = root.rpartition("/")
        files, others = [name], []
    else:
        found = find_files(filesystem, root)
        files, others = ending(found, suffixes), ending(found, suffixes, False)
    if not files:
        raise InputError(f"{uri} holds no {' or '.join(suffixes)} files; give such a file or a folder of them")
    require_utf8(uri, files)
    return filesystem, root, files, others


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
    return Unreachable(f"{path}: {type(error).__name__}: {error}")


class ReachedFile(io.RawIOBase):
    """A file of any filesystem; what fails below it is raised as Unreachable."""

    def __init__(self, stream: Any, path: str) -> None:
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
    return name != "" and not name.startswith(".") and not any(part.startswith((".", "_")) for part in folders)
