"""Pairs from Parquet files that hold the image bytes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.files import absolute_uri

_FOOTER_BYTES = 64 * 2**10


@dataclass(frozen=True)
class PairColumns:
    """The names of the columns that make a pair; every other column passes through."""

    key: str = "key"
    """Identifies the pair; unique in its source."""
    image: str = "image"
    """Encoded image bytes."""
    caption: str = "caption"
    """Text of the pair."""

    def names(self) -> dict[str, str]:
        """Return the standard name of each given column."""
        return {self.key: "key", self.image: "image", self.caption: "caption"}


@dataclass(frozen=True)
class PairUnit:
    """A unit of work: the rows [start, stop) of one file. `name` follows from these and names the unit's output."""

    file: str
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows in the unit."""
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Unique among the units of a source, the same in every run, and readable."""
        digest = hashlib.sha256(self.file.encode()).hexdigest()[:8]
        stem = self.file.removesuffix(".parquet").replace("/", "-")
        return f"{stem}-{digest}-{self.start:010d}"


class ParquetPairs:
    """A file or a folder of Parquet files with image bytes, on any filesystem that fsspec opens."""

    def __init__(self, uri: str, columns: PairColumns) -> None:
        """List the files and check their schemas; no rows are read.

        Raises InputError for a missing or empty source, a file that is not Parquet, or a column that is not there.
        """
        self._filesystem, self._root = fsspec.core.url_to_fs(uri)
        self.uri, self.columns = absolute_uri(uri), columns
        self.files = self._list_files()
        footers = {file: self._footer(file) for file in self.files}
        self.rows = {file: footer.metadata.num_rows for file, footer in footers.items()}
        self.passed_through = self._checked_schema({file: footer.schema_arrow for file, footer in footers.items()})
        if sum(self.rows.values()) == 0:
            raise InputError(f"{uri} holds no pairs: its {len(self.files)} Parquet files have no rows")

    def fingerprint(self) -> str:
        """Return a digest of every file's name, size and footer: it changes when a file is added or rewritten."""
        digest = hashlib.sha256()
        for file in self.files:
            size = self._filesystem.size(self._path(file))
            with self._filesystem.open(self._path(file), "rb") as stream:
                stream.seek(max(0, size - _FOOTER_BYTES))
                digest.update(f"{file}\0{size}\0".encode() + hashlib.sha256(stream.read()).digest())
        return digest.hexdigest()

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every file into units of at most `rows_per_unit` rows."""
        return [
            PairUnit(file, start, min(start + rows_per_unit, rows))
            for file, rows in self.rows.items()
            for start in range(0, rows, rows_per_unit)
        ]

    def read(self, unit: PairUnit, rows_per_batch: int) -> Iterator[pa.RecordBatch]:
        """Yield the unit's rows in order, as `key`, `image`, `caption` (binary, as found) and what passes through."""
        with self._filesystem.open(self._path(unit.file), "rb") as stream:
            parquet = pq.ParquetFile(stream)
            groups, position = [], 0
            first_row = None
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if position < unit.stop and position + rows > unit.start:
                    groups.append(group)
                    first_row = position if first_row is None else first_row
                position += rows
            position = first_row or 0
            for batch in parquet.iter_batches(batch_size=rows_per_batch, row_groups=groups):
                start = max(unit.start - position, 0)
                length = min(unit.stop - position, len(batch)) - start
                position += len(batch)
                if length > 0:
                    yield self._standard(batch.slice(start, length))

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the image bytes of some rows of one file; only the row groups that hold them are read."""
        found: dict[int, bytes | None] = {}
        with self._filesystem.open(self._path(file), "rb") as stream:
            parquet = pq.ParquetFile(stream)
            first = 0
            for group in range(parquet.num_row_groups):
                last = first + parquet.metadata.row_group(group).num_rows
                wanted = [row for row in rows if first <= row < last]
                if wanted:
                    column = parquet.read_row_group(group, columns=[self.columns.image])[0]
                    found |= {row: _as_binary(column.slice(row - first, 1))[0].as_py() for row in wanted}
                first = last
        return found

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return one file's key column, as binary."""
        with self._filesystem.open(self._path(file), "rb") as stream:
            return _as_binary(pq.read_table(stream, columns=[self.columns.key])[0])

    def _list_files(self) -> list[str]:
        if self._filesystem.isfile(self._root):
            self._root, _, name = self._root.rpartition("/")
            return [name]
        if not self._filesystem.isdir(self._root):
            raise InputError(f"{self.uri} does not exist; give a Parquet file or a folder of them")
        found = sorted(path for path in self._filesystem.find(self._root) if path.endswith(".parquet"))
        if not found:
            raise InputError(f"{self.uri} holds no .parquet files; give a Parquet file or a folder of them")
        return [path[len(self._root) :].lstrip("/") for path in found]

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"

    def _footer(self, file: str) -> pq.ParquetFile:
        try:
            with self._filesystem.open(self._path(file), "rb") as stream:
                return pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{self._path(file)} is not a readable Parquet file ({error}); mend or remove it"
            ) from error

    def _checked_schema(self, schemas: dict[str, pa.Schema]) -> pa.Schema:
        """Return the fields that pass through, equal in all files."""
        names = self.columns.names()
        first_file, first = next(iter(schemas.items()))
        for file, schema in schemas.items():
            for column, role in names.items():
                if column not in schema.names:
                    raise InputError(
                        f"{self._path(file)} has no column {column!r} for the {role}; it has "
                        f"{', '.join(schema.names)}; name the right one with --columns.{role}"
                    )
                kind = schema.field(column).type
                kind = kind.value_type if pa.types.is_dictionary(kind) else kind
                if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or _is_large(kind)):
                    raise InputError(f"{self._path(file)}: column {column!r} must hold strings or bytes, got {kind}")
            if not schema.remove_metadata().equals(first.remove_metadata()):
                raise InputError(
                    f"{self._path(file)} and {self._path(first_file)} have different columns or types; embed them apart"
                )
        return pa.schema([field for field in first.remove_metadata() if field.name not in names])

    def _standard(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns: dict[str, Any] = {
            role: _as_binary(batch.column(column)) for column, role in self.columns.names().items()
        }
        columns |= {name: batch.column(name) for name in self.passed_through.names}
        return pa.RecordBatch.from_pydict(columns)


def _as_binary(column: pa.Array | pa.ChunkedArray) -> Any:
    """Return strings as their bytes, whatever they are: only decoding a row may find fault with it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.binary())


def _is_large(kind: pa.DataType) -> bool:
    return pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
