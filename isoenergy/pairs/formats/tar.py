"""The files in a tar, read as a stream of untrusted bytes in bounded memory.

Python's tarfile takes a spoilt header for the archive's proper end, keeps every member, and reads extended headers of
whatever size they claim. Here a spoilt place is told, and what follows it is found again.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_ASCII = bytes(range(128))
_CHUNK_BYTES = 2**20
_MAX_EXTENSION_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_REGULAR, _LINKS_AND_DEVICES = b"\x0007", b"123456"  # a kind is one byte
_LONG_NAME, _PAX, _EXTENSIONS = b"L", b"x", b"LKxg"


@dataclass(frozen=True)
class Member:
    """A regular file in a tar."""

    name: str
    """Bytes that are not UTF-8 are escaped as surrogates."""
    size: int
    content: bytes | None
    """None where it is larger than was asked for."""


@dataclass(frozen=True)
class Damage:
    """A place at which a tar is spoilt."""

    detail: str


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes


def read_tar(stream: BinaryIO, most: Callable[[str], int]) -> Iterator[Member | Damage]:
    """Yield the regular files of a tar, gzipped or not, in order, and the places at which it is spoilt.

    most: for a name, the size up to which its content is kept.
    After a spoilt place the next header is looked for. A tar without an end mark may have been cut short: that too is a
    spoilt place.
    """
    zipped = stream.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    stream.seek(0)
    archive = gzip.GzipFile(fileobj=stream, mode="rb") if zipped else stream
    try:
        yield from _entries(archive, most)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Damage(str(error))


def _entries(archive: BinaryIO, most: Callable[[str], int]) -> Iterator[Member | Damage]:
    at_end = lost = False
    extended: dict[str, str] = {}
    while block := archive.read(_BLOCK):
        if block == _ZEROS:
            at_end = True
            continue
        header = _parsed(block)
        if header is None:
            if not lost:
                yield Damage(f"there is no header at byte {archive.tell() - len(block):,}")
            at_end, lost, extended = False, True, {}
            continue
        at_end = lost = False
        if header.kind in _EXTENSIONS:
            content = _content(archive, header.size, keep=True) or b""
            extended |= _extension(header.kind, content)
        else:
            yield from _member(archive, header, extended, most)
            extended = {}
    if not (at_end or lost):
        yield Damage(f"it ends at byte {archive.tell():,} without an end mark")


def _member(
    archive: BinaryIO, header: _Header, extended: dict[str, str], most: Callable[[str], int]
) -> Iterator[Member]:
    if header.kind in _LINKS_AND_DEVICES:
        return
    name, size = extended.get("path", header.name), int(extended.get("size", header.size))
    is_file = header.kind in _REGULAR and not name.endswith("/")
    content = _content(archive, size, keep=is_file and size <= most(name))
    if is_file:
        yield Member(name, size, content)


def _content(archive: BinaryIO, size: int, keep: bool) -> bytes | None:
    """Read past a member's content; raises EOFError if it is cut short."""
    content = archive.read(size) if keep else None
    left = size - len(content or b"")
    while left and (chunk := b"" if keep else archive.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
    if left:
        raise EOFError(f"it is cut short at byte {archive.tell():,}")
    archive.read(-size % _BLOCK)
    return content


def _parsed(block: bytes) -> _Header | None:
    """Return what a header says; None if it is none, or one that cannot be trusted."""
    checksum = _number(block[148:156])
    if len(block) < _BLOCK or checksum is None or checksum not in _checksums(block):
        return None
    size, kind = _number(block[124:136]), block[156:157]
    if size is None or (kind in _EXTENSIONS and size > _MAX_EXTENSION_BYTES):
        return None
    name, prefix = (field.partition(b"\0")[0] for field in (block[:100], block[345:500]))
    if prefix and block[257:263] == b"ustar\0":
        name = prefix + b"/" + name
    return _Header(_text(name), size, kind)


def _checksums(block: bytes) -> tuple[int, int]:
    """The sum of the bytes with the checksum itself as spaces: unsigned, and signed as some old programs have it."""
    covered = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(covered)
    return unsigned, unsigned - 256 * len(covered.translate(None, delete=_ASCII))


def _number(field: bytes) -> int | None:
    if field[:1] == b"\x80":  # large numbers are not in octal
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    return int(digits or b"0", 8) if not digits.strip(b"01234567") else None


def _extension(kind: bytes, content: bytes) -> dict[str, str]:
    """Return the `path` and `size` that an extended header gives to the member after it."""
    if kind == _LONG_NAME:
        return {"path": _text(content.partition(b"\0")[0])}
    return _pax(content) if kind == _PAX else {}


def _pax(content: bytes) -> dict[str, str]:
    """Parse records of `length key=value` and a line's end, up to the first that is none."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + 8)
        digits = content[start:space]
        if space < 0 or not digits.isdigit() or int(digits) <= space - start:
            break
        key, _, value = content[space + 1 : start + int(digits) - 1].partition(b"=")
        if key == b"path" or (key == b"size" and value.isdigit() and len(value) < 20):
            fields[key.decode()] = _text(value)
        start += int(digits)
    return fields


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
