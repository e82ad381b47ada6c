"""Filling a store, one unit of work at a time."""

import hashlib
from collections import Counter

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.files import absolute_uri, write_atomically
from isoenergy.pairs.parquet import PairUnit
from isoenergy.store.manifest import CommitRecord, Manifest


class StoreWriter:
    """Writes units into the store at `uri`; any number of writers may work on different units."""

    def __init__(self, uri: str) -> None:
        """Open the place; nothing is written yet."""
        self.uri = absolute_uri(uri)
        self._filesystem, self._root = fsspec.core.url_to_fs(uri)

    def holds(self, manifest: Manifest) -> bool:
        """Return whether there is a store that this manifest may go on filling.

        Raises InputError, naming what differs, if there is one that it may not.
        """
        path = f"{self._root}/manifest.json"
        try:
            if not self._filesystem.exists(path):
                return False
            there = Manifest.from_json(self._filesystem.cat_file(path).decode())
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is not a manifest ({error}); give another output folder") from error
        there.require_same(manifest, self.uri)
        return True

    def begin(self, manifest: Manifest) -> None:
        """Write the manifest of a new store, or check it against the one that is there.

        Raises InputError if the store was made otherwise, or the place cannot be written.
        """
        try:
            if not self.holds(manifest):
                write_atomically(self._filesystem, f"{self._root}/manifest.json", manifest.to_json().encode())
        except OSError as error:
            raise InputError(f"{self.uri} cannot be written ({error}); give an output folder that can") from error

    def committed(self) -> dict[str, CommitRecord]:
        """Return the records of the finished units by name; one whose shard is gone or cut short is not finished."""
        folder = f"{self._root}/commits"
        if not self._filesystem.isdir(folder):
            return {}
        shards = {
            entry["name"].rsplit("/", 1)[-1].removesuffix(".parquet"): entry["size"]
            for entry in self._filesystem.ls(f"{self._root}/shards", detail=True)
        }
        paths = [path for path in self._filesystem.ls(folder, detail=False) if path.endswith(".json")]
        records = {}
        for raw in self._filesystem.cat(paths).values() if paths else ():
            try:
                record = CommitRecord.from_json(raw.decode())
            except (ValueError, TypeError):  # not ours, or spoilt: as good as none
                continue
            if shards.get(record.unit) == record.shard_bytes:
                records[record.unit] = record
        return records

    def commit(self, unit: PairUnit, shard: pa.Table, rejected: pa.Table) -> CommitRecord:
        """Write the unit's shard and rejected pairs, then its commit record.

        Raises ValueError if their rows do not add up to the unit's.
        """
        data = _parquet_bytes(shard)
        reasons, splits = (
            dict(sorted(Counter(column.to_pylist()).items())) for column in (rejected["reason"], shard["split"])
        )
        record = CommitRecord(
            unit=unit.name,
            file=unit.file,
            start=unit.start,
            rows_in=unit.rows,
            embedded=len(shard),
            rejected=len(rejected),
            rejected_by_reason=reasons,
            embedded_by_split=splits,
            shard_bytes=len(data),
            shard_sha256=hashlib.sha256(data).hexdigest(),
        )
        write_atomically(self._filesystem, f"{self._root}/shards/{unit.name}.parquet", data)
        if len(rejected):
            write_atomically(self._filesystem, f"{self._root}/rejected/{unit.name}.parquet", _parquet_bytes(rejected))
        write_atomically(self._filesystem, f"{self._root}/commits/{unit.name}.json", record.to_json().encode())
        return record


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
