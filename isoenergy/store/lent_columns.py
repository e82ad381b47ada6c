"""A view's vectors: they stay in the source's files, and each shard says where its own lie, and what they were.

Whatever reads them looks at them: rows that have another digest than when the view was made are an error.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.formats.arrow import SUFFIXES as ARROW
from isoenergy.pairs.formats.row_groups import SPOILT
from isoenergy.pairs.splits import Pairs
from isoenergy.storage.files import open_filesystem
from isoenergy.store.array_files import StoredArray
from isoenergy.store.arrays import embedding_rows, list_rows
from isoenergy.store.column_files import (
    ArrayColumns,
    ArrowColumns,
    ColumnFile,
    FilePlace,
    ParquetColumns,
    RenamedColumns,
    arrow_rows,
    parquet_rows,
)
from isoenergy.store.lance_columns import LanceColumns, lance_rows
from isoenergy.store.schema import OWN_COLUMNS

_LENT = b"isoenergy.lent"
_MOST_GROUP_ROWS = 2**17
"""A unit of 8,192 rows decodes its row group up to its own rows: of these, some eight times what it wants."""


@dataclass(frozen=True)
class ColumnPlace:
    """Where a column lies among the source's files."""

    file: str
    """Relative to where they lie."""
    column: str
    """Its name there."""
    array: StoredArray | None = None
    """Where its bytes lie, in a file of arrays."""
    version: int = 0
    """Of a Lance dataset."""

    @classmethod
    def of(cls, file: ColumnFile, column: str) -> Self | str:
        """Return where a file's column lies, or why its rows cannot be read a unit at a time."""
        if isinstance(file, RenamedColumns):
            return cls.of(file.of, next(old for old in file.of.schema.names if file.names.get(old, old) == column))
        name = file.at.file
        if isinstance(file, ArrayColumns):
            array = dict(file.arrays)[column]
            return f"{name} is compressed" if array.member else cls(name, column, array)
        if isinstance(file, ParquetColumns):
            if file.group_rows > _MOST_GROUP_ROWS:
                return f"{name} has row groups of {file.group_rows:,} rows, and more than {_MOST_GROUP_ROWS:,} are slow"
            return cls(name, column)
        if isinstance(file, ArrowColumns):
            return cls(name, column) if file.at.is_local else f"{name} has no index, and is on no disk"
        if isinstance(file, LanceColumns):
            return cls(name, column, version=file.version)
        return f"{name} is read from its beginning, or in another order"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Parse what `asdict` has made; raises ValueError for a file that may lie elsewhere."""
        if ".." in values["file"].split("/") or values["file"].startswith("/"):
            raise ValueError(f"{values['file']!r} is no file of a source")
        array = values["array"]
        stored = StoredArray(**array | {"shape": tuple(array["shape"])}) if array else None
        return cls(values["file"], values["column"], stored, values["version"])

    def read(self, filesystem: AbstractFileSystem, root: str, start: int, stop: int) -> pa.ChunkedArray:
        """Return some of its rows, as they lie there. Raises what `SPOILT` has."""
        at = FilePlace(filesystem, root, self.file)
        if self.array is not None:
            (table,) = ArrayColumns(at, stop, ((self.column, self.array),)).tables([(start, stop)], [self.column])
        elif self.version:
            (table,) = lance_rows(at, self.version, [(start, stop)], [self.column])
        else:
            rows = arrow_rows if self.file.lower().endswith(ARROW) else parquet_rows
            (table,) = rows(at, [(start, stop)], [self.column])
        return table[self.column]


@dataclass(frozen=True)
class _Lent:
    """Where a shard's rows of a column lie: those from `start` to `stop` that its column `row` names."""

    place: ColumnPlace
    start: int
    stop: int
    sha256: str
    """Of the rows as the shard has them, `(pairs, width)` of the store's type."""


def without_vectors(shard: pa.Table, places: Mapping[str, ColumnPlace], start: int, stop: int) -> pa.Table:
    """Return a shard without its vectors, which says that they lie from `start` to `stop` of these places instead."""
    lent = {}
    for name, place in places.items():
        rows = embedding_rows(shard[name], shard.schema.field(name).type.list_size)
        lent[name] = asdict(_Lent(place, start, stop, _digest(rows)))
    return shard.drop_columns(list(places)).replace_schema_metadata({_LENT: json.dumps(lent)})


def with_vectors(
    data: bytes,
    source: str,
    widths: Mapping[str, int],
    dtype: str,
    columns: Sequence[str] | None,
    split: Pairs,
    use_threads: bool,
) -> pa.Table:
    """Return some columns of a shard of a view, the pairs of one split, from its file's bytes.

    source: where the files lie that it lends from. widths, dtype: of the vectors, by column.
    Raises InputError, naming the file, if one has changed since the view was made, or cannot be read;
    pyarrow.ArrowException for data that are no such shard.
    """
    schema = pq.read_schema(pa.BufferReader(data))
    lent = _parsed(schema)
    own = [name for name in schema.names if columns is None or name in columns]
    table = pq.read_table(pa.BufferReader(data), columns=list({*own, "row", "split"}), use_threads=use_threads)
    numbers = table["row"].to_numpy()
    found = {name: table[name] for name in own}
    fields = {name: schema.field(name) for name in own}
    for name, its in lent.items():
        if columns is None or name in columns:
            rows = _vectors(its, source, name, widths, dtype, numbers)
            kind = pa.list_(pa.field("element", pa.from_numpy_dtype(rows.dtype)), rows.shape[1])
            found[name] = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=kind)
            fields[name] = pa.field(name, kind, nullable=False)
    behind = [name for name in own if name not in OWN_COLUMNS]
    wanted = columns if columns is not None else [*OWN_COLUMNS, *lent, *behind]
    if missing := [name for name in wanted if name not in found]:
        raise pa.ArrowInvalid(f"it has no column {', '.join(missing)}; those it has are {', '.join(schema.names)}")
    whole = pa.table([found[name] for name in wanted], schema=pa.schema([fields[name] for name in wanted]))
    return whole if split == "all" else whole.filter(pc.equal(table["split"], split))


def _parsed(schema: pa.Schema) -> dict[str, _Lent]:
    try:
        entries = json.loads((schema.metadata or {})[_LENT])
        return {
            name: _Lent(**entry | {"place": ColumnPlace.from_json(entry["place"])}) for name, entry in entries.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise pa.ArrowInvalid(f"it does not say where its vectors lie ({error!r})") from error


def _vectors(
    lent: _Lent, source: str, name: str, widths: Mapping[str, int], dtype: str, numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating]:
    """Return a shard's rows of a column, `(pairs, width)`, if they are those that it was made of."""
    filesystem, root = open_filesystem(source)
    shown = FilePlace(filesystem, root, lent.place.file).shown
    try:
        column = lent.place.read(filesystem, root, lent.start, lent.stop)
    except (*SPOILT, KeyError) as error:
        raise InputError(
            f"{shown} cannot be read ({error}), and the vectors of a view are in it: put it back as it was, or import "
            f"what there is now to another output"
        ) from error
    places = numbers - lent.start
    if len(places) and not 0 <= places.min() <= places.max() < len(column):
        raise pa.ArrowInvalid(f"its rows are not from {lent.start:,} to {lent.stop:,}")
    rows = list_rows(column, widths[name], dtype)[0][places]
    if _digest(rows) != lent.sha256:
        raise InputError(
            f"{shown} has changed: its rows {lent.start:,} to {lent.stop:,} are not those that the view was made of; "
            f"put it back as it was, or import what there is now to another output"
        )
    return rows


def _digest(rows: npt.NDArray[np.floating]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()
