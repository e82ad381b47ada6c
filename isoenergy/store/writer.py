"""Filling a store, one unit of work at a time."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.source import PairUnit
from isoenergy.storage.files import absolute_uri, open_filesystem, write_atomically
from isoenergy.store.manifest import CommitRecord, Manifest
from isoenergy.store.schema import REJECTED


class StoreWriter:
    """Writes units into the store at `uri`; any number of writers may work on different units."""

    def __init__(self, uri: str) -> None:
        """Open the place; nothing is written yet. Raises InputError if it is a file."""
        self.uri = absolute_uri(uri)
        self._filesystem, self._root = open_filesystem(uri)
        if os.path.isfile(self._root) and isinstance(self._filesystem, LocalFileSystem):
            raise InputError(f"{uri} is a file; a store is a folder: give another output")

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

    def known_files(self) -> list[str]:
        """Return the source's files in the order in which they came to the store; none before it is begun.

        Of two pairs with one key, the one in the earlier file is kept, whatever its name.
        """
        try:
            return list(json.loads(self._filesystem.cat_file(f"{self._root}/files.json")))
        except (FileNotFoundError, NotADirectoryError):  # `begin` says what is wrong with a place
            return []
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.uri}/files.json is not a list of files ({error}); give another output") from error

    def begin(self, manifest: Manifest, files: Sequence[str]) -> None:
        """Write the manifest of a new store; check it against the one that is there and bring that up to date.

        files: what `known_files` is to return from now on.
        Raises InputError if the store was made otherwise, or the place cannot be written.
        """
        try:
            self.holds(manifest)
            write_atomically(self._filesystem, f"{self._root}/files.json", json.dumps(files, indent=0).encode())
            write_atomically(self._filesystem, f"{self._root}/manifest.json", manifest.to_json().encode())
        except OSError as error:
            raise InputError(f"{self.uri} cannot be written ({error}); give an output folder that can") from error

    def write_summary(self, summary: str) -> None:
        """Write `summary.json`, what the last run came to."""
        write_atomically(self._filesystem, f"{self._root}/summary.json", summary.encode())

    def has_summary(self) -> bool:
        """Return whether a run has come to its end here."""
        return bool(self._filesystem.exists(f"{self._root}/summary.json"))

    def committed(self) -> dict[str, CommitRecord]:
        """Return the records of the finished units by name; one whose shard is gone or cut short is not finished."""
        shards = self._sizes("shards")
        return {
            unit: record for unit, record in self.records().items() if shards.get(record.shard) == record.shard_bytes
        }

    def records(self) -> dict[str, CommitRecord]:
        """Return all records that can be read, by unit, whatever has become of their shards."""
        names = [name for name in self._sizes("commits") if name.endswith(".json")]
        paths = [f"{self._root}/commits/{name}" for name in names]
        records = {}
        for raw in self._filesystem.cat_ranges(paths, None, None, on_error="raise"):  # `cat` would expand wildcards
            try:
                record = CommitRecord.from_json(raw.decode())
            except (ValueError, TypeError):  # not ours, or spoilt: as good as none
                continue
            records[record.unit] = record
        return records

    def has(self, unit: str) -> bool:
        """Return whether a unit is finished."""
        record = self.record(unit)
        try:
            return (
                record is not None
                and self._filesystem.size(f"{self._root}/shards/{record.shard}") == record.shard_bytes
            )
        except FileNotFoundError:
            return False

    def record(self, unit: str) -> CommitRecord | None:
        """Return the record of one unit, or None if it has none that can be read."""
        try:
            return CommitRecord.from_json(self._filesystem.cat_file(f"{self._root}/commits/{unit}.json").decode())
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def read(self, record: CommitRecord) -> tuple[pa.Table, pa.Table]:
        """Return a unit's shard and its rejected pairs, as they were committed."""
        return self._read(f"shards/{record.shard}"), self.read_rejected(record)

    def read_rejected(self, record: CommitRecord) -> pa.Table:
        """Return a unit's rejected pairs; see `isoenergy.store.schema`."""
        return self._read(f"rejected/{record.shard}") if record.rejected else REJECTED.empty_table()

    def commit(
        self,
        unit: PairUnit,
        file_digest: str,
        shard: pa.Table,
        rejected: pa.Table,
        replaced: CommitRecord | None = None,
    ) -> CommitRecord:
        """Write the unit's shard and rejected pairs, then its commit record: what was read is one or the other.

        replaced: the record that this one takes the place of. The new files get names of their own, so that the unit is
        whole at every moment, and the old ones are removed at the end.
        Raises ValueError if the rows do not add up to the unit's, where it says how many it has.
        """
        rows = None if unit.stop is None else unit.stop - unit.start
        if rows is not None and rows != len(shard) + len(rejected):
            raise ValueError(f"unit {unit.name}: {rows} rows in, but {len(shard)} embedded + {len(rejected)} rejected")
        data, rejected_data = parquet_bytes(shard), parquet_bytes(rejected) if len(rejected) else b""
        reasons, splits = (
            dict(sorted(Counter(column.to_pylist()).items())) for column in (rejected["reason"], shard["split"])
        )
        name = unit.name if replaced is None else f"{unit.name}-{hashlib.sha256(data + rejected_data).hexdigest()[:8]}"
        record = CommitRecord(
            unit=unit.name,
            file=unit.file,
            file_digest=file_digest,
            start=unit.start,
            rows_in=len(shard) + len(rejected),
            embedded=len(shard),
            rejected=len(rejected),
            rejected_by_reason=reasons,
            embedded_by_split=splits,
            shard=f"{name}.parquet",
            shard_bytes=len(data),
            shard_sha256=hashlib.sha256(data).hexdigest(),
            rejected_sha256=hashlib.sha256(rejected_data).hexdigest() if rejected_data else "",
        )
        write_atomically(self._filesystem, f"{self._root}/shards/{record.shard}", data)
        if rejected_data:
            write_atomically(self._filesystem, f"{self._root}/rejected/{record.shard}", rejected_data)
        write_atomically(self._filesystem, f"{self._root}/commits/{unit.name}.json", record.to_json().encode())
        if replaced is not None and replaced.shard != record.shard:
            self.discard([f"shards/{replaced.shard}", f"rejected/{replaced.shard}"])
        return record

    def sweep(self) -> None:
        """Remove what no commit record names: what kills have left behind. For stores that are whole."""
        self.discard(self.unnamed())

    def unnamed(self) -> list[str]:
        """Return the files that no commit record names: torn, spoilt or not of this store."""
        # What another run commits after the listing is not in it.
        there = {f"{folder}/{name}" for folder in ("shards", "rejected", "commits") for name in self._sizes(folder)}
        records = self.committed().values()
        named = {f"shards/{record.shard}" for record in records}
        named |= {f"rejected/{record.shard}" for record in records if record.rejected}
        named |= {f"commits/{record.unit}.json" for record in records}
        return sorted(there - named)

    def _read(self, name: str) -> pa.Table:
        with self._filesystem.open(f"{self._root}/{name}", "rb") as stream:
            return pq.read_table(stream)

    def _sizes(self, folder: str) -> dict[str, int]:
        """Name and size of the files in one of the store's folders."""
        path = f"{self._root}/{folder}"
        if not self._filesystem.isdir(path):
            return {}
        return {
            entry["name"].rsplit("/", 1)[-1]: entry["size"]
            for entry in self._filesystem.ls(path, detail=True)
            if entry["type"] == "file"
        }

    def discard(self, names: list[str]) -> None:
        """Remove some of the store's files; without its commit record a unit is missing until it is committed again."""
        for name in names:
            with suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{self._root}/{name}")


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the file that holds a shard or rejected pairs.

    Embeddings hardly compress and have no repeats: plain, they are read five times as fast as zstd with a dictionary.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), sink)
    leaves = [column.path for column in pq.read_metadata(pa.BufferReader(sink.getvalue())).schema]
    plain = {f"{field.name}.list.element" for field in table.schema if pa.types.is_fixed_size_list(field.type)}
    others = [leaf for leaf in leaves if leaf not in plain]
    compression = dict.fromkeys(plain, "none") | dict.fromkeys(others, "zstd")
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, use_dictionary=others)
    content: bytes = sink.getvalue().to_pybytes()
    return content
