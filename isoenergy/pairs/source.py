"""What every source of pairs offers."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.captions import CaptionChoice
from isoenergy.pairs.rejection import Rejected

_READABLE = 100
_LISTS = ("rows", "keys", "images", "captions", "rejections")
Format = Literal["parquet", "urls", "paths", "arrow", "webdataset", "coco", "table", "folder"]


@dataclass(frozen=True)
class PairColumns:
    """The names of the columns that make a pair; every other column passes through.

    Empty: the first of the usual names that is there, in any case; a key that no column holds is made from the file
    and the row.
    """

    key: str = ""
    """Identifies the pair; unique in its source. none: no column does, the file and the row are the key."""
    image: str = ""
    """Encoded image bytes or their base64, their URL, or the path of an image file. Where a CSV or TSV has no header,
    columns are named by their number: 1, 2, …"""
    caption: str = ""
    """Text of the pair, or a list of several."""
    separator: str = ""
    """What stands between the cells of a CSV, if it is not to be recognised: one character."""

    def __post_init__(self) -> None:
        if len(self.separator) > 1 or self.separator in ("\n", "\r", '"'):
            raise InputError(f"the separator of cells must be one character, and no quote, got {self.separator!r}")


@dataclass(frozen=True)
class SourceConfig:
    """Where the pairs are."""

    uri: str
    format: Format | None = None
    """None: recognised from the path and from what is there."""
    columns: PairColumns = field(default_factory=PairColumns)
    images: str = ""
    """Where image files lie that a list of captions names."""
    captions: CaptionChoice = "all"
    """What becomes of several captions of one image."""
    captions_seed: int = 0
    """Of a random choice among them."""


@dataclass(frozen=True)
class PairUnit:
    """A unit of work: the pairs [start, stop) of one file; `stop` is None where only reading tells how many there are.

    `name` follows from file and start, and names the unit's output.
    """

    file: str
    start: int
    stop: int | None

    @property
    def name(self) -> str:
        """Unique among the units of a source, the same in every run, and readable."""
        digest = hashlib.sha256(self.file.encode()).hexdigest()[:8]
        stem = self.file.rpartition(".")[0] or self.file
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._") else "-" for c in stem[-_READABLE:])
        readable = plain.lstrip("._-") or "pairs"  # a leading dot or underscore hides a file
        return f"{readable}-{digest}-{self.start:010d}"

    def chosen(self, rows: Collection[int] | None, stop: int) -> Sequence[int]:
        """Return the numbers from `start` to `stop` in order: all, or those among `rows`."""
        whole = range(self.start, stop)
        return whole if rows is None else [row for row in sorted(set(rows)) if row in whole]


@dataclass(frozen=True)
class RawPairs:
    """Some pairs of a unit, as found: nothing is decoded yet. All fields have one length."""

    rows: list[int]
    """Their numbers in the file, ascending."""
    keys: list[bytes | None]
    images: list[bytes | None]
    captions: list[bytes | None]
    rejections: list[Rejected | None]
    """Why the source itself cannot give a pair; None where it can."""
    passed_through: pa.Table

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, stop: int) -> "RawPairs":
        """Return the pairs at the places from `start` to `stop`."""
        lists = {name: getattr(self, name)[start:stop] for name in _LISTS}
        return RawPairs(**lists, passed_through=self.passed_through.slice(start, stop - start))

    @classmethod
    def joined(cls, parts: Sequence["RawPairs"]) -> "RawPairs":
        """Return the pairs of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        lists = {name: [value for part in parts for value in getattr(part, name)] for name in _LISTS}
        return cls(**lists, passed_through=pa.concat_tables([part.passed_through for part in parts]))


def full_batches(parts: Iterable[RawPairs], rows_per_batch: int) -> Iterator[RawPairs]:
    """Yield the pairs of parts of any length so that every batch but the last has `rows_per_batch` of them."""
    waiting: list[RawPairs] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) < rows_per_batch:
            continue
        joined = RawPairs.joined(waiting)
        whole = len(joined) - len(joined) % rows_per_batch
        yield from (joined.between(start, start + rows_per_batch) for start in range(0, whole, rows_per_batch))
        waiting = [joined.between(whole, len(joined))]
    if any(waiting):
        yield RawPairs.joined(waiting)


def cut(file: str, rows: int, rows_per_unit: int) -> list[PairUnit]:
    """Return the units of a file of `rows` pairs."""
    starts = range(0, rows, rows_per_unit)
    return [PairUnit(file, start, min(start + rows_per_unit, rows)) for start in starts]


def place_key(file: str, row: int) -> bytes:
    """Return the key of a pair that has none of its own: its file and its number in it."""
    return f"{file.removesuffix('.parquet')}/{row:09d}".encode()


class PairSource(Protocol):
    """Image-text pairs in files, on any filesystem that fsspec opens. Pickles small: it travels to every task."""

    format: ClassVar[Format]
    uri: str
    files: list[str]
    """The files that hold pairs, sorted, relative to the source."""
    beside: Beside
    """What else is there."""
    passed_through: pa.Schema
    """Columns beside key, image and caption, equal in all files."""

    keys_may_repeat: bool
    """Whether two pairs may have one key; False where keys are made from places."""

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of one file's pairs, binary, in their order; asked only where keys may repeat."""
        ...

    def file_digest(self, file: str) -> str:
        """Return what changes when the file is written again; reads little of it.

        On an object store the tag stands behind it, after a space, that `listed_tags` tells.
        """
        ...

    def listed_tags(self) -> dict[str, str]:
        """Return what an object store lists of the files that changes when they are written again; none elsewhere.

        Equal tags are equal files; other tags may be.
        """
        ...

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every file into units, at most `rows_per_unit` pairs each where pairs can be counted without reading."""
        ...

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's pairs in order; every part but the last has `rows_per_batch` of them.

        rows: numbers in the file; only these pairs of the unit are yielded, and only their images downloaded.
        What a pair lacks is None: decoding rejects it, with its reason. Raises OSError if the file cannot be reached.
        """
        ...

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the image bytes of some pairs of one file, by their number in it."""
        ...
