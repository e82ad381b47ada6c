"""The files in a tar, read as a stream of untrusted bytes in bounded memory.

Python's tarfile takes a spoilt header for the archive's proper end, keeps every member, and reads extended headers of
whatever size they claim. Here a spoilt place is told, and what follows it is found again.
"""

import bz2
import gzip
import io
import lzma
import posixpath
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NamedTuple

from isoenergy.pairs.kinds import HEAD_BYTES, other_kind

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_ASCII = bytes(range(128))
_CHUNK_BYTES = 2**20
_MAX_EXTENSION_BYTES = 2**20
_GZIP_MAGIC, _XZ_MAGIC = b"\x1f\x8b", b"\xfd7zXZ\x00"
_BZIP2_MAGIC = slice(4, 10), b"1AY&SY"  # behind BZh and a digit, with which a plain tar's first name may begin
_MAGIC_BYTES = 10
_XZ_MEMORY_BYTES = 128 * 2**20  # twice what `xz -9` asks for
_REGULAR, _LINKS_AND_DEVICES = b"\x0007", b"123456"  # a kind is one byte
_HARD_LINK, _SYMBOLIC_LINK = b"1", b"2"
_LONG_NAME, _LONG_LINK, _PAX, _EXTENSIONS = b"L", b"K", b"x", b"LKxg"
_SPARSE, _SPARSE_KEY = b"S", "GNU.sparse"
_MORE_IN_HEADER, _MORE_IN_MAP = 482, 504
_TARGET_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Member:
    """A regular file in a tar."""

    name: str
    """Bytes that are not UTF-8 are escaped as surrogates."""
    size: int
    content: bytes | None
    """None where it is larger than was asked for."""
    fault: str = ""
    """Why there is no content though it would not be too large."""
    target: str = ""
    """Of a symbolic link, the name of the file whose content it has."""


@dataclass(frozen=True)
class Damage:
    """A place at which a tar is spoilt."""

    detail: str
    is_no_tar: bool = False
    """Whether it is a file of another kind, by its beginning."""


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes
    target: str
    more: bool
    """Of a sparse file: whether its map goes on in the next block."""


Most = Callable[[str, bytes], int]
"""For a name and the first bytes, the size up to which a content is kept."""


def read_tar(stream: BinaryIO, most: Most) -> Iterator[Member | Damage]:
    """Yield the files of a tar, plain or compressed by gzip, bzip2 or xz, in order, and where it is spoilt.

    A link is the file that it names, if that stands before it and no more than some 64 MiB of kept contents away; it
    may be one to a link. Of a sparse file, as `tar --sparse` writes it, there is no content.
    After a spoilt place the next header is looked for. A tar without an end mark may have been cut short: that too is a
    spoilt place.
    """
    magic = stream.read(_MAGIC_BYTES)
    stream.seek(0)
    archive: BinaryIO = stream
    if magic.startswith(_GZIP_MAGIC):
        archive = gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[assignment]  # it reads as one does
    elif magic[_BZIP2_MAGIC[0]] == _BZIP2_MAGIC[1]:
        archive = io.BufferedReader(_Decompressed(stream, bz2.BZ2Decompressor))
    elif magic.startswith(_XZ_MAGIC):
        archive = io.BufferedReader(_Decompressed(stream, _xz_decompressor))
    try:
        yield from _entries(archive, most)
    except (EOFError, zlib.error, lzma.LZMAError, _NotBzip2Error, gzip.BadGzipFile) as error:
        yield Damage(str(error))


class _NotBzip2Error(Exception):
    """What bz2 raises as OSError, which here is an error of the storage."""


class _Decompressed(io.RawIOBase):
    """The content of bzip2 or xz streams, one after the other, unpacked as it is read."""

    def __init__(self, stream: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._stream, self._new = stream, decompressor
        self._decompressor = decompressor()
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            packed = b""
            if self._decompressor.eof:
                packed = self._decompressor.unused_data or self._stream.read(_CHUNK_BYTES)
                if not packed.strip(b"\0"):  # xz pads its streams
                    return 0
                self._decompressor = self._new()
            elif self._decompressor.needs_input and not (packed := self._stream.read(_CHUNK_BYTES)):
                raise EOFError(f"it is cut short at byte {self._position:,}")
            try:
                content = self._decompressor.decompress(packed, len(buffer))
            except OSError as error:
                raise _NotBzip2Error(str(error)) from error
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)


class _Targets:
    """The contents that links may name: the last ones, in bounded memory."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._bytes = 0

    def add(self, member: Member) -> None:
        name = posixpath.normpath(member.name)
        self._links.pop(name, None)
        self._bytes += len(member.content or b"") - len(self._forgotten(name))
        self._members[name] = member
        while self._bytes > _TARGET_BYTES:
            self._bytes -= len(self._forgotten(next(iter(self._members))))

    def linked(self, header: _Header, name: str, target: str) -> Member:
        """Return the member that a link is; its content is that of its target."""
        place = posixpath.join(posixpath.dirname(name), target) if header.kind == _SYMBOLIC_LINK else target
        place = posixpath.normpath(place)
        place = self._links.get(place, place)
        found = self._members.get(place)
        if found is None:
            return Member(name, 0, None, f"a link to {target!r}, which does not stand shortly before it in the tar")
        self._links[posixpath.normpath(name)] = place
        return replace(found, name=name, target=found.name if header.kind == _SYMBOLIC_LINK else "")

    def _forgotten(self, name: str) -> bytes:
        member = self._members.pop(name, None)
        return (member.content if member else None) or b""


def _entries(archive: BinaryIO, most: Most) -> Iterator[Member | Damage]:
    at_end = lost = False
    extended: dict[str, str] = {}
    targets = _Targets()
    while block := archive.read(_BLOCK):
        if block == _ZEROS:
            at_end = True
            continue
        header = _parsed(block)
        if header is None:
            if not lost:
                place = archive.tell() - len(block)
                what = None if place else other_kind(block)
                yield Damage(f"it is {what}" if what else f"there is no header at byte {place:,}", bool(what))
            at_end, lost, extended = False, True, {}
            continue
        at_end = lost = False
        if header.kind in _EXTENSIONS:
            content = _content(archive, header.size, keep=True) or b""
            extended |= _extension(header.kind, content)
        else:
            yield from _member(archive, header, extended, most, targets)
            extended = {}
    if not (at_end or lost):
        yield Damage(f"it ends at byte {archive.tell():,} without an end mark")


def _member(
    archive: BinaryIO, header: _Header, extended: dict[str, str], most: Most, targets: _Targets
) -> Iterator[Member]:
    name, size = extended.get("path", header.name), int(extended.get("size", header.size))
    if header.kind in (_HARD_LINK, _SYMBOLIC_LINK):
        yield targets.linked(header, name, extended.get("linkpath", header.target))
    if header.kind in _LINKS_AND_DEVICES:
        return
    if header.kind == _SPARSE or _SPARSE_KEY in extended:
        more = header.more
        while more:
            more = archive.read(_BLOCK)[_MORE_IN_MAP : _MORE_IN_MAP + 1] == b"\1"
        _content(archive, size, keep=False)
        yield Member(extended.get(_SPARSE_KEY) or name, 0, None, "a sparse file; write the tar without --sparse")
        return
    is_file = header.kind in _REGULAR and not name.endswith("/")
    head = archive.read(min(size, HEAD_BYTES))
    content = _content(archive, size, keep=is_file and size <= most(name, head), head=head)
    if is_file:
        member = Member(name, size, content)
        targets.add(member)
        yield member


def _content(archive: BinaryIO, size: int, keep: bool, head: bytes = b"") -> bytes | None:
    """Read past a member's content, of which `head` is read; raises EOFError if it is cut short."""
    content = head + archive.read(size - len(head)) if keep else None
    left = size - len(head if content is None else content)
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
    target = _text(block[157:257].partition(b"\0")[0])
    return _Header(_text(name), size, kind, target, more=kind == _SPARSE and block[_MORE_IN_HEADER] == 1)


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
    """Return the `path`, `linkpath` and `size` that an extended header gives to the member after it."""
    if kind in (_LONG_NAME, _LONG_LINK):
        return {"path" if kind == _LONG_NAME else "linkpath": _text(content.partition(b"\0")[0])}
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
        if key in (b"path", b"linkpath") or (key == b"size" and value.isdigit() and len(value) < 20):
            fields[key.decode()] = _text(value)
        elif key.startswith(b"GNU.sparse."):
            fields.setdefault(_SPARSE_KEY, "")
            if key == b"GNU.sparse.name":
                fields[_SPARSE_KEY] = _text(value)
        start += int(digits)
    return fields


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
