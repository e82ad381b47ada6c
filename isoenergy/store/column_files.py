"""Files with columns, of which vectors are some: what columns they have, and their rows, a unit at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.pairs.formats.arrow import open_arrow, require_sound
from isoenergy.pairs.formats.parquet import open_parquet
from isoenergy.pairs.formats.schemas import plain_schema
from isoenergy.pairs.reach import open_file
from isoenergy.store.array_files import StoredArray, row_ranges

Ranges = Sequence[tuple[int, int]]
"""First row and the one behind the last, in order; none overlap."""
_BATCH_ROWS = 8192


class ColumnFile(Protocol):
    """A file with columns. Small: it travels to the tasks that read it."""

    @property
    def file(self) -> str:
        """Its path, relative to the source."""
        ...

    @property
    def rows(self) -> int:
        """How many it has."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Of plain types; see `plain_schema`."""
        ...

    def tables(
        self, filesystem: AbstractFileSystem, root: str, ranges: Ranges, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield some rows of some of its columns, range by range."""
        ...


@dataclass(frozen=True)
class ParquetColumns:
    """A Parquet file."""

    file: str
    rows: int
    schema: pa.Schema

    @classmethod
    def of(cls, filesystem: AbstractFileSystem, root: str, file: str) -> "ParquetColumns":
        """Read the footer."""
        with open_file(filesystem, f"{root}/{file}", cache_type="none") as stream:
            parquet = pq.ParquetFile(stream)
            return cls(file, parquet.metadata.num_rows, plain_schema(parquet.schema_arrow, keep_lengths=True))

    def tables(
        self, filesystem: AbstractFileSystem, root: str, ranges: Ranges, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield rows; row groups before the first are passed over, and a range or so is held at a time."""
        with open_file(filesystem, f"{root}/{self.file}", cache_type="none") as stream:
            parquet = open_parquet(stream)
            ends = np.cumsum([parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)])
            group = int(np.searchsorted(ends, ranges[0][0], side="right"))
            first = int(ends[group - 1]) if group else 0
            batches = parquet.iter_batches(_BATCH_ROWS, list(range(group, parquet.num_row_groups)), list(columns))
            yield from _cut(batches, first, ranges)


@dataclass(frozen=True)
class ArrowColumns:
    """A file of Arrow's stream or file format, such as `datasets.save_to_disk` writes."""

    file: str
    rows: int
    schema: pa.Schema

    @classmethod
    def of(cls, filesystem: AbstractFileSystem, root: str, file: str) -> "ArrowColumns":
        """Count the rows; the file is mapped if it is on a disk, and read through elsewhere."""
        with open_arrow(filesystem, f"{root}/{file}") as (schema, batches):
            return cls(file, sum(batch.num_rows for batch in batches), plain_schema(schema, keep_lengths=True))

    def tables(
        self, filesystem: AbstractFileSystem, root: str, ranges: Ranges, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield rows; what lies before the first is passed over."""
        with open_arrow(filesystem, f"{root}/{self.file}") as (_, batches):
            yield from _cut(_checked(batches, columns), 0, ranges)


@dataclass(frozen=True)
class ArrayColumns:
    """A file of arrays of as many rows: vectors, numbers and texts."""

    file: str
    rows: int
    arrays: tuple[tuple[str, StoredArray], ...]
    """Each with the name that its column has."""

    @property
    def schema(self) -> pa.Schema:
        """Each array's type."""
        return pa.schema([(name, _column(array, array.of_bytes(b"")).type) for name, array in self.arrays])

    def tables(
        self, filesystem: AbstractFileSystem, root: str, ranges: Ranges, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield rows, each range by one request."""
        wanted = {name: array for name, array in self.arrays if name in columns}
        readers = [row_ranges(filesystem, f"{root}/{self.file}", array, ranges) for array in wanted.values()]
        for parts in zip(*readers, strict=True):
            arrays = [_column(array, rows) for array, rows in zip(wanted.values(), parts, strict=True)]
            yield pa.table(arrays, names=list(wanted))


@dataclass(frozen=True)
class RenamedColumns:
    """A file whose columns go by other names."""

    of: ColumnFile
    names: Mapping[str, str]
    """New names by old ones; others stay."""

    @property
    def file(self) -> str:
        """Its path."""
        return self.of.file

    @property
    def rows(self) -> int:
        """How many it has."""
        return self.of.rows

    @property
    def schema(self) -> pa.Schema:
        """With the new names."""
        return pa.schema([field.with_name(self.names.get(field.name, field.name)) for field in self.of.schema])

    def tables(
        self, filesystem: AbstractFileSystem, root: str, ranges: Ranges, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        """Yield rows."""
        old = [name for name in self.of.schema.names if self.names.get(name, name) in columns]
        for table in self.of.tables(filesystem, root, ranges, old):
            yield table.rename_columns([self.names.get(name, name) for name in table.column_names])


def _column(array: StoredArray, rows: np.ndarray) -> pa.Array:
    """Return rows of an array as Arrow has them."""
    if array.is_vectors:
        flat = np.ascontiguousarray(rows).ravel()
        return pa.FixedSizeListArray.from_arrays(flat.astype(flat.dtype.newbyteorder("=")), array.shape[1])
    if rows.dtype.kind in "US":
        return pa.array(rows.tolist(), pa.string() if rows.dtype.kind == "U" else pa.binary())
    return pa.array(rows.astype(rows.dtype.newbyteorder("=")))


def _checked(batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        chosen = batch.select(columns)
        require_sound(chosen)
        yield chosen


def _cut(batches: Iterator[pa.RecordBatch], first: int, ranges: Ranges) -> Iterator[pa.Table]:
    """Yield the rows of each range from batches of which the first begins with row `first`."""
    held: list[pa.RecordBatch] = []
    end = first
    for start, stop in ranges:
        while end < stop:
            batch = next(batches, None)
            if batch is None:
                raise OSError(f"it has fewer than {stop} rows")
            end += len(batch)
            if end > start:
                held.append(batch)
            else:
                held, first = [], end
        table = pa.Table.from_batches(held)
        yield table.slice(start - first, stop - start)
        held, first = table.slice(stop - first).to_batches(), stop
