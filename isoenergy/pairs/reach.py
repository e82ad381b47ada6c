"""Reading files that may lie anywhere, so that what fails is one kind of error."""

import io
from typing import Any, BinaryIO

from fsspec import AbstractFileSystem

from isoenergy.errors import in_brief
from isoenergy.storage.files import without_secrets


class Unreachable(OSError):
    """A file cannot be opened or read just now, whatever is in it."""


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
