"""Row groups of Parquet and Arrow files, some of which may be spoilt, and what their columns hold, of any type."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from isoenergy.pairs.captions import texts_of
from isoenergy.pairs.formats.schemas import has_lengths
from isoenergy.pairs.reach import ReachedFile, Unreachable

SPOILT = (pa.ArrowException, OSError, ValueError)
"""What reading a spoilt file raises; ValueError: a column's name is not UTF-8."""
_BUFFER_BYTES = 8 * 2**20  # of a column, so that a row group of any size is read in bounded memory

NO_LETTER = "\ufffd"
"""Stands for bytes that are no letter."""

Part: TypeAlias = pa.Table | str  # some rows, or why they cannot be read


def open_parquet(stream: ReachedFile) -> pq.ParquetFile:
    """Open a file; lists that Arrow would read as of one length, and fail where one is null, are plain lists."""
    parquet = pq.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True)
    if not any(map(has_lengths, parquet.schema_arrow.types)):
        return parquet
    metadata = _without_arrow_types(stream)
    return pq.ParquetFile(
        stream, metadata=metadata, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
    )


def _without_arrow_types(stream: ReachedFile) -> pq.FileMetaData:
    """Return a file's footer, whose note on what the columns were in Arrow goes by another name."""
    stream.seek(-8, os.SEEK_END)
    end = stream.read(8)
    size = int.from_bytes(end[:4], "little")
    stream.seek(-8 - size, os.SEEK_END)
    footer = stream.read(size).replace(b"ARROW:schema", b"arrow-schema")
    return pq.read_metadata(pa.BufferReader(end[4:] + footer + end))


def read_group(
    batches: Iterable[pa.RecordBatch], first: int, wanted: Sequence[int]
) -> Iterator[tuple[Sequence[int], Part]]:
    """Yield the wanted rows of one row group, of which `first` is the first; those after a spoilt place are unreadable.

    Raises Unreachable if it is not the file that fails but what it lies on.
    """
    detail = "its row group ends early"
    pieces = iter(batches)
    while wanted:
        try:
            piece = next(pieces, None)
        except Unreachable:
            raise
        except SPOILT as error:
            piece, detail = None, str(error)
        if piece is None:
            yield wanted, detail
            return
        within = wanted[: bisect_left(wanted, first + len(piece))]
        if within:
            yield within, _taken(pa.Table.from_batches([piece]), [row - first for row in within])
        wanted, first = wanted[len(within) :], first + len(piece)


def _taken(table: pa.Table, places: list[int]) -> pa.Table:
    start, stop = places[0], places[-1] + 1
    return table.slice(start, len(places)) if len(places) == stop - start else table.take(places)


def counts_of_captions(parts: Iterable[tuple[Sequence[int], Part]], rows: int, caption: str) -> npt.NDArray[np.int64]:
    """Return how many pairs each row makes if each of its captions does; one where they cannot be read."""
    counts = np.ones(rows, np.int64)
    for numbers, part in parts:
        if not isinstance(part, str):
            lengths = [len(texts or ()) for texts in texts_in(part[caption])]
            counts[numbers[0] : numbers[-1] + 1] = np.maximum(lengths, 1)
    return counts


def texts_in(column: pa.ChunkedArray) -> list[Any]:
    """Return the texts of each row; those that are not UTF-8 have bytes escaped as surrogates."""
    try:
        return [texts_of(value) for value in column.to_pylist()]
    except UnicodeDecodeError:  # one row's
        return [texts_of(_python_value(value)) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def bytes_of(column: pa.ChunkedArray) -> list[bytes | None]:
    """Return strings as their bytes, whatever they are: only decoding a row may find fault with it."""
    kind = column.type
    if pa.types.is_struct(kind):
        there = kind.get_field_index("bytes") >= 0
        return bytes_of(pc.struct_field(column, "bytes")) if there else [None] * len(column)
    if pa.types.is_dictionary(kind):
        return bytes_of(column.cast(kind.value_type))
    if pa.types.is_integer(kind):
        column = column.cast(pa.string())
    each: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    return each


def readable(value: bytes | None) -> str:
    """Return bytes as a text for people; nothing is empty, and bytes that are no UTF-8 become `NO_LETTER`."""
    return (value or b"").decode("utf-8", "replace")


def text_of(name: bytes | None) -> str | None:
    """Return a name as text; bytes that are not UTF-8 are escaped as surrogates."""
    return None if name is None else name.decode("utf-8", "surrogateescape")
