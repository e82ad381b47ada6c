"""A filesystem in memory that counts what an object store would be asked: `counted://`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

_PAGE = 1000
"""Files that one answer of S3 lists."""


class CountedFileSystem(MemoryFileSystem):
    """What lies in memory, and the requests for it: a page of a listing is one, a file opened is two."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[list[str]] = []

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("counted://"))  # type: ignore[no-any-return]

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        found = super().ls(path, detail=detail, **options)
        self.requests.extend([f"ls {path}"] * max(1, -(-len(found) // _PAGE)))
        return found

    def cat_file(self, path: str, start: Any = None, end: Any = None, **_: Any) -> bytes:
        self.requests.append(f"get {path}")
        with super()._open(self._strip_protocol(path), "rb") as stream:
            return bytes(stream.getbuffer())[start:end]

    def info(self, path: str, **options: Any) -> Any:
        self.requests.append(f"head {path}")
        return super().info(path, **options)

    def pipe_file(self, path: str, value: bytes, *_: Any, **__: Any) -> None:
        self.requests.append(f"put {path}")
        with super()._open(self._strip_protocol(path), "wb") as stream:
            stream.write(value)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.requests.extend([f"open {path}"] * 2)
        return super()._open(path, mode, **options)


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Return what is asked for meanwhile."""
    CountedFileSystem.requests.clear()
    yield CountedFileSystem.requests
