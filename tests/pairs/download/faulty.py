"""A filesystem that fails where a test says, with an exception of its own."""

import io
import uuid
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class Faulty(MemoryFileSystem):
    """Files in memory; reading a byte of `broken` of any of them fails."""

    protocol = "faulty"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    broken: ClassVar[range] = range(0)

    @classmethod
    def place(cls) -> str:
        """Return a new folder; nothing is broken."""
        cls.broken = range(0)
        return f"/{uuid.uuid4().hex}"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("faulty://"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        opened = super()._open(path, mode, **options)
        return _File(opened.getvalue()) if mode == "rb" else opened


class _File(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        content = super().read(size)
        if set(range(start, start + len(content))) & set(Faulty.broken):
            raise LookupError("no such luck")
        return content


fsspec.register_implementation("faulty", Faulty, clobber=True)
