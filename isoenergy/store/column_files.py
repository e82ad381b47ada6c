"""Files with columns, of which vectors are some: what columns they have, and their rows, a unit at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.formats.arrow import open_arrow, require_sound
from isoenergy.pairs.formats.delimited import delimited_rows
from isoenergy.pairs.formats.json_rows import json_rows
from isoenergy.pairs.formats.row_groups import open_parquet, readable
from isoenergy.pairs.formats.schemas import plain_schema
from isoenergy.pairs.formats.table import JSON_SUFFIXES, decoded_table
from isoenergy.pairs.reach import open_file, unreachable
from isoenergy.pairs.source import PairColumns
from isoenergy.storage.files import without_secrets
from isoenergy.store.array_files import StoredArray, row_ranges

Ranges = Sequence[tuple[int, int]]
"""First row and the one behind the last, in order; none overlap."""
_BATCH_ROWS = 8192
_MOST_HELD = 4 * 2**30


@dataclass(frozen=True)
class FilePlace:
    """Where a file lies: in the folder `root`, or below."""

    filesystem: AbstractFileSystem
    root: str
    file: str

    @property
    def path(self) -> str:
        """On its filesystem."""
        return f"{self.root}/{self.file}"

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk."""
        return isinstance(self.filesystem, LocalFileSystem)

    @property
    def shown(self) -> str:
        """For people: a path, or a URL without secrets."""
        return self.path if self.is_local else without_secrets(self.filesystem.unstrip_protocol(self.path))

    @property
    def root_uri(self) -> str:
        """What opens `root` again."""
        return self.root if self.is_local else str(self.filesystem.unstrip_protocol(self.root))


class ColumnFile(Protocol):
    """A file with columns. Small: it travels to the tasks that read it."""

    @property
    def at(self) -> FilePlace:
        """Where it lies."""
        ...

    @property
    def rows(self) -> int:
        """How many it has."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Of plain types; see `plain_schema`."""
        ...

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some rows of some of its columns, range by range."""
        ...


@dataclass(frozen=True)
class ParquetColumns:
    """A Parquet file."""

    at: FilePlace
    rows: int
    schema: pa.Schema
    group_rows: int
    """Rows of its largest row group: to read one, all before it in its group are decoded."""

    @classmethod
    def of(cls, at: FilePlace) -> "ParquetColumns":
        """Read the footer."""
        with open_file(at.filesystem, at.path, cache_type="none") as stream:
            parquet = pq.ParquetFile(stream)
            whole = parquet.metadata
            largest = max((whole.row_group(group).num_rows for group in range(whole.num_row_groups)), default=0)
            return cls(at, whole.num_rows, plain_schema(parquet.schema_arrow, keep_lengths=True), largest)

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows; row groups before the first are passed over, and a range or so is held at a time."""
        return parquet_rows(self.at, ranges, columns)


@dataclass(frozen=True)
class ArrowColumns:
    """A file of Arrow's stream or file format, such as `datasets.save_to_disk` writes."""

    at: FilePlace
    rows: int
    schema: pa.Schema

    @classmethod
    def of(cls, at: FilePlace) -> "ArrowColumns":
        """Count the rows; the file is mapped if it is on a disk, and read through elsewhere."""
        with open_arrow(at.filesystem, at.path) as (schema, batches):
            return cls(at, sum(batch.num_rows for batch in batches), plain_schema(schema, keep_lengths=True))

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows; what lies before the first is passed over."""
        return arrow_rows(self.at, ranges, columns)


@dataclass(frozen=True)
class ArrayColumns:
    """A file of arrays of as many rows: vectors, numbers and texts."""

    at: FilePlace
    rows: int
    arrays: tuple[tuple[str, StoredArray], ...]
    """Each with the name that its column has."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Arrays that are no columns, and why."""

    @property
    def schema(self) -> pa.Schema:
        """Each array's type."""
        return pa.schema([(name, _column(array, array.of_bytes(b"")).type) for name, array in self.arrays])

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows, each range by one request."""
        wanted = {name: array for name, array in self.arrays if name in columns}
        readers = [row_ranges(self.at.filesystem, self.at.path, array, ranges) for array in wanted.values()]
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
    def at(self) -> FilePlace:
        """Where it lies."""
        return self.of.at

    @property
    def rows(self) -> int:
        """How many it has."""
        return self.of.rows

    @property
    def schema(self) -> pa.Schema:
        """With the new names."""
        return pa.schema([field.with_name(self.names.get(field.name, field.name)) for field in self.of.schema])

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows."""
        old = [name for name in self.of.schema.names if self.names.get(name, name) in columns]
        for table in self.of.tables(ranges, old):
            yield table.rename_columns([self.names.get(name, name) for name in table.column_names])


@dataclass(frozen=True)
class TextColumns:
    """A CSV, TSV or JSONL, whose columns are texts. It is read whole, each time."""

    at: FilePlace
    rows: int
    schema: pa.Schema

    @classmethod
    def of(cls, at: FilePlace) -> "TextColumns":
        """Read it. Raises InputError, by file and row, for a row that cannot be parsed."""
        table = _table_of_texts(at)
        return cls(at, len(table), table.schema)

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows."""
        table = _table_of_texts(self.at).select(columns)
        yield from (table.slice(start, stop - start) for start, stop in ranges)


@dataclass(frozen=True)
class JoinedColumns:
    """The rows of a file in the order of another's, whose keys they have; null where there is none of a key.

    Of rows of one key the first is taken. In one order with the other, they are read as they lie; else they are held
    whole, once a task.
    """

    of: ColumnFile
    key: str
    """Its column of keys, which is none of the columns here."""
    order: ColumnFile
    order_key: str
    caption: str = ""
    """Its column of captions, of a table of these, which may have too many and too few."""

    @property
    def at(self) -> FilePlace:
        """Where it lies."""
        return self.of.at

    @property
    def rows(self) -> int:
        """Those of the other file."""
        return self.order.rows

    @property
    def schema(self) -> pa.Schema:
        """Without the key; a width of lists is not in their types, as rows may lack."""
        return pa.schema([_nullable(field) for field in self.of.schema if field.name != self.key])

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows."""
        own, wanted = self._keys()
        if own.equals(wanted):
            yield from self.of.tables(ranges, columns)
            return
        places = pc.index_in(wanted, value_set=own, skip_nulls=True)
        whole = whole_columns(self.of, columns)
        if whole.nbytes > _MOST_HELD:
            raise InputError(
                f"{self.at.shown} has its rows in another order than {self.order.at.shown}, and {whole.nbytes:,} bytes "
                f"are too many to reorder; sort both by key, or cut them into smaller files"
            )
        whole = whole.cast(pa.schema([_nullable(field) for field in whole.schema]))
        yield from (whole.take(places.slice(start, stop - start)) for start, stop in ranges)

    def unplaced(self) -> tuple[int, str]:
        """Return how many of the file's rows find no place among the other's, and where the first stands, and why."""
        own, wanted = self._keys()
        if own.equals(wanted):
            return 0, ""
        lacking = own.is_null().to_numpy(zero_copy_only=False)
        alone = ~are_in(own, wanted)
        again = (pc.index_in(own, value_set=own).to_numpy() != np.arange(len(own))) & ~lacking
        bad = np.flatnonzero(again if self.caption else again | alone)
        if not len(bad):
            return 0, ""
        row = int(bad[0])
        why = f"{self.order.at.shown} has none of this key" if alone[row] else "the key stands before"
        named = "there is no key" if lacking[row] else f"key {readable(own[row].as_py())!r}: {why}"
        return len(bad), f"{self.at.shown}, row {row}, {named}"

    def without_fellow(self) -> dict[int, str]:
        """Return the other file's rows whose key this one lacks, and what to say of each; none for captions."""
        own, wanted = self._keys()
        if self.caption or own.equals(wanted):
            return {}
        rows = np.flatnonzero(~are_in(wanted, own) & wanted.is_valid().to_numpy(zero_copy_only=False))
        return {
            row: f"{self.order.at.shown}, row {row}, key {readable(key)!r}: {self.at.shown} has none of this key"
            for row, key in zip(rows.tolist(), wanted.take(pa.array(rows)).to_pylist(), strict=True)
        }

    def _keys(self) -> tuple[pa.Array, pa.Array]:
        """Of its own rows, and of the other's."""
        return keys_of(self.of, self.key), keys_of(self.order, self.order_key)


def are_in(keys: pa.Array | pa.ChunkedArray, others: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which keys are among others; null is not."""
    return np.asarray(pc.is_in(keys, value_set=others, skip_nulls=True))


def joined_part(file: ColumnFile) -> JoinedColumns | None:
    """Return the file, if its rows are in the order of another's, without what renames its columns."""
    if isinstance(file, RenamedColumns):
        return joined_part(file.of)
    return file if isinstance(file, JoinedColumns) else None


def parquet_rows(at: FilePlace, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some rows of a Parquet file, range by range; row groups before the first are passed over."""
    with open_file(at.filesystem, at.path, cache_type="none") as stream:
        parquet = open_parquet(stream)
        ends = np.cumsum([parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)])
        group = int(np.searchsorted(ends, ranges[0][0], side="right"))
        behind = int(np.searchsorted(ends, ranges[-1][1])) + 1
        first = int(ends[group - 1]) if group else 0
        groups = list(range(group, min(behind, parquet.num_row_groups)))
        batches = parquet.iter_batches(_BATCH_ROWS, groups, list(columns))
        yield from _cut(batches, first, ranges)


def arrow_rows(at: FilePlace, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some rows of an Arrow file, range by range."""
    with open_arrow(at.filesystem, at.path) as (_, batches):
        yield from _cut(_checked(batches, columns), 0, ranges)


def texts_as_they_are(values: Sequence[str | bytes | None]) -> pa.Array:
    """Return texts for Arrow with the bytes that they were read from, also those that are not UTF-8."""
    return pa.array([_raw(value) for value in values], pa.binary()).view(pa.string())


def _raw(value: str | bytes | None) -> bytes | None:
    if not isinstance(value, str):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON may have
        return value.encode("utf-8", "surrogatepass")


def keys_of(file: ColumnFile, name: str) -> pa.Array:
    """Return a file's column of keys, binary."""
    keys = whole_columns(file, [name])[name].combine_chunks()
    return (keys.cast(pa.string()) if pa.types.is_integer(keys.type) else keys).cast(pa.binary())


def whole_columns(file: ColumnFile, columns: Sequence[str]) -> pa.Table:
    """Return some columns of a file, all rows."""
    if not file.rows:
        return pa.schema([file.schema.field(name) for name in columns]).empty_table()
    (whole,) = file.tables([(0, file.rows)], columns)
    return whole


def _nullable(field: pa.Field) -> pa.Field:
    kind = field.type
    return pa.field(field.name, pa.list_(kind.value_type) if pa.types.is_fixed_size_list(kind) else kind)


def _table_of_texts(at: FilePlace) -> pa.Table:
    try:
        text = decoded_table(at.filesystem.cat_file(at.path), at.path)
    except OSError as error:
        raise unreachable(at.path, error) from error
    is_json = at.file.lower().endswith(JSON_SUFFIXES)
    rows = json_rows(text, at.path) if is_json else delimited_rows(text, at.path, PairColumns())
    if bad := next(((number, row) for number, row in enumerate(rows) if isinstance(row, str)), None):
        raise InputError(f"{at.shown}, row {bad[0]}: {bad[1]}; mend it")
    names = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    columns = [[_text(row.get(name)) for row in rows if isinstance(row, dict)] for name in names]
    return pa.table([texts_as_they_are(column) for column in columns], names=names)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


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
