"""Pairs from Arrow files, such as those of a folder that `datasets.save_to_disk` has written."""

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.formats.row_groups import SPOILT, Part, counts_of_captions, read_group
from isoenergy.pairs.formats.schemas import of_bytes, plain_schema
from isoenergy.pairs.reach import Unreachable, open_file
from isoenergy.pairs.source import Format

SUFFIXES = (".arrow",)
_MAGIC = b"ARROW1"
_MAGIC_BYTES = 8
_END = b"\xff\xff\xff\xff\0\0\0\0"
_OF_A_CACHE = "cache-"


class ArrowPairs(ParquetPairs):
    """Files of Arrow's stream or file format with image bytes; all else is as in `ParquetPairs`.

    They have no index: on a disk they are mapped, elsewhere each unit reads its file from the beginning. Of a file that
    is cut, what stands before is read, and the rest is one pair, rejected.
    """

    format: ClassVar[Format] = "arrow"
    _what: ClassVar[str] = "Arrow"
    _suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def _is_wanted(self, file: str) -> bool:
        return not is_kept_computation(file)

    def _footer(self, file: str) -> tuple[int, pa.Schema] | Exception:
        rows = 0
        try:
            with open_arrow(self._filesystem, self._path(file)) as (schema, batches):
                try:
                    for batch in batches:
                        rows += batch.num_rows
                except SPOILT as error:
                    if not rows or isinstance(error, Unreachable):
                        return error
                    rows += 1
                return rows, plain_schema(schema)
        except SPOILT as error:
            return error

    def _starts(self, file: str) -> npt.NDArray[np.int64] | None:
        rows = self._file_rows[file]
        return None if rows is None else _pair_starts(self._filesystem, self._path(file), rows, self._caption)

    def _parts(
        self, file: str, wanted: Sequence[int], rows_at_once: int, columns: list[str]
    ) -> Iterator[tuple[Sequence[int], Part]]:
        if not wanted:
            return
        with open_arrow(self._filesystem, self._path(file)) as (schema, batches):
            there = [name for name in columns if name in schema.names]
            yield from read_group(_cut(batches, there, rows_at_once), 0, wanted)


def is_kept_computation(file: str) -> bool:
    """Return whether it is an Arrow file that `datasets` has kept of a computation, beside those of the dataset."""
    return file.lower().endswith(SUFFIXES) and posixpath.basename(file).startswith(_OF_A_CACHE)


def _cut(batches: Iterator[pa.RecordBatch], columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        chosen = batch.select(columns)
        require_sound(chosen)
        for start in range(0, len(chosen), rows):
            yield chosen.slice(start, rows)


def require_sound(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid if offsets point anywhere; text that is not UTF-8 is its row's own fault."""
    for column in batch.columns:
        column.view(of_bytes(column.type)).validate(full=True)


@contextmanager
def open_arrow(filesystem: AbstractFileSystem, path: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Open a file of either of Arrow's formats: its schema, and its batches until it ends or is spoilt."""
    is_local = isinstance(filesystem, LocalFileSystem)
    try:
        stream: Any = pa.memory_map(path) if is_local else pa.PythonFile(open_file(filesystem, path), "r")
    except FileNotFoundError as error:
        raise Unreachable(str(error)) from error
    with stream:
        is_file = stream.read(len(_MAGIC)) == _MAGIC
        stream.seek(0)
        if is_file:
            try:
                file = pa.ipc.open_file(stream)
            except pa.ArrowInvalid:  # without its end it is a stream behind a magic number
                stream.seek(_MAGIC_BYTES)
                reader = pa.ipc.open_stream(stream)
                yield reader.schema, _to_the_end(reader, stream)
            else:
                yield file.schema, map(file.get_batch, range(file.num_record_batches))
        else:
            reader = pa.ipc.open_stream(stream)
            yield reader.schema, _to_the_end(reader, stream)


def _to_the_end(reader: pa.ipc.RecordBatchStreamReader, stream: Any) -> Iterator[pa.RecordBatch]:
    """Yield a stream's batches; raises ArrowInvalid if it stops without its mark, as one does that was not finished."""
    yield from reader
    stream.seek(max(0, stream.tell() - len(_END)))
    if stream.read(len(_END)) != _END:
        raise pa.ArrowInvalid("it stops without the mark of its end: rows may be missing")


@lru_cache(maxsize=64)
def _pair_starts(filesystem: AbstractFileSystem, path: str, rows: int, caption: str) -> npt.NDArray[np.int64]:
    with open_arrow(filesystem, path) as (_, batches):
        parts = read_group(_cut(batches, [caption], rows or 1), 0, range(rows))
        return np.concatenate([[0], np.cumsum(counts_of_captions(parts, rows, caption))])
