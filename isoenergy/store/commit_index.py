"""The store's index: all commit records in one Parquet file, so that opening a store takes two requests at any size.

The records are the truth. The index has what a run found at its end, and of each record what the listing of its file
said; a record whose file is listed otherwise is read anew, on top of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.storage.files import write_atomically
from isoenergy.store.manifest import CommitRecord

INDEX_FILE = "index.parquet"
_GENERATION, _SETTLED = b"generation", b"settled"
_COUNTS = pa.map_(pa.string(), pa.int64())
_SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("file", pa.string()),
        ("file_digest", pa.string()),
        ("start", pa.int64()),
        ("rows_in", pa.int64()),
        ("embedded", pa.int64()),
        ("rejected", pa.int64()),
        ("rejected_by_reason", _COUNTS),
        ("embedded_by_split", _COUNTS),
        ("shard", pa.string()),
        ("shard_bytes", pa.int64()),
        ("shard_sha256", pa.string()),
        ("rejected_sha256", pa.string()),
        ("rows_by_split", _COUNTS),
        ("listed", pa.string()),
    ]
)
_MAPS = [each.name for each in _SCHEMA if each.type == _COUNTS]


@dataclass(frozen=True)
class CommitIndex:
    """Commit records, and what the listing of `commits/` said of their files."""

    records: Mapping[str, CommitRecord] = field(default_factory=dict)
    """By unit, in the units' order."""
    listed: Mapping[str, str] = field(default_factory=dict)
    """By unit: `isoenergy.storage.files.listed_version` of the record's file."""
    generation: int = 0
    """How often the records have been folded; 0: never."""
    settled: bool = False
    """Whether nobody has begun to add to the store since."""

    def __len__(self) -> int:
        return len(self.records)

    @classmethod
    def read(cls, filesystem: AbstractFileSystem, root: str) -> "CommitIndex":
        """Return the index of the store at `root`; an empty one if there is none that can be read."""
        try:
            table = pq.read_table(pa.BufferReader(filesystem.cat_file(f"{root}/{INDEX_FILE}")))
            columns = {name: table[name].to_pylist() for name in _SCHEMA.names if name not in _MAPS}
            maps = [name for name in _MAPS if name in table.schema.names]  # older ones have no rows_by_split
            counts = [_dictionaries(table[name].combine_chunks()) for name in maps]
            generation = int((table.schema.metadata or {})[_GENERATION])
            settled = table.schema.metadata[_SETTLED] == b"true"
        except (FileNotFoundError, NotADirectoryError, pa.ArrowException, KeyError, ValueError):
            return cls()  # the records are the truth
        listed = columns.pop("listed")
        names = [*columns, *maps]
        rows = zip(*columns.values(), *counts, strict=True)
        records = [CommitRecord(**dict(zip(names, row, strict=True))) for row in rows]
        units = columns["unit"]
        return cls(dict(zip(units, records, strict=True)), dict(zip(units, listed, strict=True)), generation, settled)

    def write(self, filesystem: AbstractFileSystem, root: str, settled: bool) -> "CommitIndex":
        """Put the index in the place of the one that is there, whole, as the next generation; return it."""
        units = sorted(self.records)
        records = [self.records[unit] for unit in units]
        columns = [
            pa.array([self.listed[unit] for unit in units], pa.string())
            if each.name == "listed"
            else pa.array([_told(getattr(record, each.name)) for record in records], each.type)
            for each in _SCHEMA
        ]
        written = replace(self, generation=self.generation + 1, settled=settled)
        metadata = {_GENERATION: str(written.generation), _SETTLED: str(settled).lower()}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns, schema=_SCHEMA.with_metadata(metadata)), sink, compression="zstd")
        write_atomically(filesystem, f"{root}/{INDEX_FILE}", sink.getvalue().to_pybytes())
        return written


def _told(value: object) -> object:
    return list(value.items()) if isinstance(value, dict) else value


def _dictionaries(column: pa.MapArray) -> list[dict[str, int]]:
    """Return a column of maps as dictionaries."""
    keys, items = column.keys.to_pylist(), column.items.to_pylist()
    ends = column.offsets.to_pylist()
    return [dict(zip(keys[start:stop], items[start:stop], strict=True)) for start, stop in pairwise(ends)]
