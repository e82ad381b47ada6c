"""Filling a store, one unit of work at a time."""

import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.source import PairUnit
from isoenergy.storage.files import absolute_uri, listed_version, open_filesystem, write_atomically
from isoenergy.store.commit_index import INDEX_FILE, CommitIndex
from isoenergy.store.manifest import CommitRecord, Manifest
from isoenergy.store.schema import REJECTED

HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
"""Errors of a place where no unit can be written."""


class StoreWriter:
    """Writes units into the store at `uri`; any number of writers may work on different units."""

    def __init__(self, uri: str) -> None:
        """Open the place; nothing is written yet. Raises InputError if it is a file."""
        self.uri = absolute_uri(uri)
        self._filesystem, self._root = open_filesystem(uri)
        if os.path.isfile(self._root) and isinstance(self._filesystem, LocalFileSystem):
            raise InputError(f"{uri} is a file; a store is a folder: give another output")
        self._known: CommitIndex | None = None
        self._told: dict[str, CommitRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is known of the records where it is: it takes as much as the store has units."""
        return self.__dict__ | {"_known": None, "_told": {}}

    def holds(self, manifest: Manifest) -> bool:
        """Return whether there is a store that this manifest may go on filling.

        Raises InputError, naming what differs, if there is one that it may not, and for files of others in its place.
        """
        there = self.manifest()
        if there is None:
            self.require_vacant()
            return False
        there.require_same(manifest, self.uri)
        return True

    def require_vacant(self) -> None:
        """Raise InputError if files lie where a new store's are to lie: what no record names is removed in the end."""
        for folder in ("shards", "rejected", "commits"):
            if there := sorted(self._listing(folder)):
                raise InputError(
                    f"{self.uri}/{folder} holds {there[0]}, and no manifest.json is there that says whose it is; a new "
                    f"store would remove it: give another output"
                )

    def manifest(self) -> Manifest | None:
        """Return the manifest of the store that is there, if any. Raises InputError if it is none."""
        path = f"{self._root}/manifest.json"
        try:
            if not self._filesystem.exists(path):
                return None
            return Manifest.from_json(self._filesystem.cat_file(path).decode())
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is not a manifest ({error}); give another output folder") from error

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

        The index is no longer taken for all that there is, until `settle`.

        files: what `known_files` is to return from now on.
        Raises InputError if the store was made otherwise, or the place cannot be written.
        """
        try:
            self.holds(manifest)
            known = self._known or CommitIndex.read(self._filesystem, self._root)
            if len(known):
                self._known = known.write(self._filesystem, self._root, settled=False)
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
        records = self.records()
        shards = {name: entry["size"] for name, entry in self._listing("shards").items()}
        return {unit: record for unit, record in records.items() if shards.get(record.shard) == record.shard_bytes}

    def records(self) -> dict[str, CommitRecord]:
        """Return all records that can be read, by unit, whatever has become of their shards.

        Only those are read that neither this writer nor the index knows as they are listed now.
        """
        known = self._known or CommitIndex.read(self._filesystem, self._root)
        self._known = self._brought_up_to_date(known, self._listing("commits"))
        return dict(self._known.records)

    def index_faults(self) -> list[str]:
        """Return where the index says otherwise than the commit records do, in words; reads all of these anew."""
        index = CommitIndex.read(self._filesystem, self._root)
        self._known = self._brought_up_to_date(CommitIndex(), self._listing("commits"))
        if not index.generation:
            return []
        there = {
            unit: record
            for unit, record in self._known.records.items()
            if unit in index.records or (index.settled and self._is_whole(record))
        }
        differing = [unit for unit in sorted({*there, *index.records}) if there.get(unit) != index.records.get(unit)]
        return [f"{INDEX_FILE} is not what commits/{unit}.json says" for unit in differing]

    def told(self, records: Iterable[CommitRecord]) -> None:
        """Take the word of those who have committed some units: the files of these records need not be read."""
        self._told |= {record.unit: record for record in records}

    def settle(self, units: int) -> None:
        """Fold all records into the index, as its next generation; if there are as many as `units`, sweep.

        To sweep is to remove what no record names: what kills have left behind. Raises InputError if the index cannot
        be written.
        """
        try:
            self._settle(units)
        except OSError as error:
            raise InputError(
                f"{self.uri} cannot be written ({error}); what is committed is kept: make room, and run the same "
                f"command again"
            ) from error

    def _settle(self, units: int) -> None:
        there = {folder: self._listing(folder) for folder in ("shards", "rejected")}
        listing = self._listing("commits")
        whole = self._fold(there["shards"], listing)
        if len(whole) >= units:
            names = {f"{folder}/{name}" for folder, files in (*there.items(), ("commits", listing)) for name in files}
            self.discard(sorted(names - _named(whole.records.values())))

    def fold(self) -> None:
        """Fold all records into the index, as its next generation; raises OSError if it cannot be written."""
        self._fold(self._listing("shards"), self._listing("commits"))

    def _fold(self, shards: Mapping[str, Mapping[str, Any]], commits: Mapping[str, Mapping[str, Any]]) -> CommitIndex:
        known = self._known or CommitIndex.read(self._filesystem, self._root)
        known = self._brought_up_to_date(known, commits)
        sizes = {name: entry["size"] for name, entry in shards.items()}
        records = known.records.items()
        late = {unit for unit, record in records if record.shard not in sizes and self._is_whole(record)}
        whole = {unit: each for unit, each in records if unit in late or sizes.get(each.shard) == each.shard_bytes}
        listed = {unit: known.listed[unit] for unit in whole}
        folded = replace(known, records=whole, listed=listed)
        self._known = folded.write(self._filesystem, self._root, settled=True)
        return self._known

    def has(self, unit: str) -> bool:
        """Return whether a unit is finished."""
        record = self.record(unit)
        return record is not None and self._is_whole(record)

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
        Raises ValueError if the rows do not add up to the unit's, where it says how many it has, or one stands twice.
        """
        pairs = shard["split"].take(np.unique(shard["row"].to_numpy(), return_index=True)[1])
        if len(pairs) < len(shard) != pc.count_distinct(shard["key"]).as_py():
            raise ValueError(f"unit {unit.name}: of {len(shard)} rows some stand twice")
        rows = None if unit.stop is None else unit.stop - unit.start
        if rows is not None and rows != len(pairs) + len(rejected):
            raise ValueError(f"unit {unit.name}: {rows} rows in, but {len(pairs)} embedded + {len(rejected)} rejected")
        data, rejected_data = parquet_bytes(shard), parquet_bytes(rejected) if len(rejected) else b""
        name = unit.name if replaced is None else f"{unit.name}-{hashlib.sha256(data + rejected_data).hexdigest()[:8]}"
        record = CommitRecord(
            unit=unit.name,
            file=unit.file,
            file_digest=file_digest,
            start=unit.start,
            rows_in=len(pairs) + len(rejected),
            embedded=len(pairs),
            rejected=len(rejected),
            rejected_by_reason=_counts(rejected["reason"]),
            embedded_by_split=_counts(pairs),
            shard=f"{name}.parquet",
            shard_bytes=len(data),
            shard_sha256=hashlib.sha256(data).hexdigest(),
            rejected_sha256=hashlib.sha256(rejected_data).hexdigest() if rejected_data else "",
            rows_by_split=_counts(shard["split"]) if len(pairs) < len(shard) else {},
        )
        write_atomically(self._filesystem, f"{self._root}/shards/{record.shard}", data)
        if rejected_data:
            write_atomically(self._filesystem, f"{self._root}/rejected/{record.shard}", rejected_data)
        write_atomically(self._filesystem, f"{self._root}/commits/{unit.name}.json", record.to_json().encode())
        if replaced is not None and replaced.shard != record.shard:
            self.discard([f"shards/{replaced.shard}", f"rejected/{replaced.shard}"])
        return record

    def unnamed(self) -> list[str]:
        """Return the files that no commit record names: torn, spoilt or not of this store."""
        # What another run commits after the listing is not in it.
        there = {f"{folder}/{name}" for folder in ("shards", "rejected", "commits") for name in self._listing(folder)}
        return sorted(there - _named(self.committed().values()))

    def _read(self, name: str) -> pa.Table:
        with self._filesystem.open(f"{self._root}/{name}", "rb") as stream:
            return pq.read_table(stream)

    def _is_whole(self, record: CommitRecord) -> bool:
        try:
            return bool(self._filesystem.size(f"{self._root}/shards/{record.shard}") == record.shard_bytes)
        except FileNotFoundError:
            return False

    def _brought_up_to_date(self, known: CommitIndex, listing: Mapping[str, Mapping[str, Any]]) -> CommitIndex:
        """Return what `commits/` holds, as it is listed: known records that are listed as before, the others read."""
        now = {name.removesuffix(".json"): entry for name, entry in listing.items() if name.endswith(".json")}
        listed = {unit: listed_version(entry) for unit, entry in now.items()}
        records = {unit: record for unit, record in known.records.items() if listed.get(unit) == known.listed[unit]}
        others = [unit for unit in now if unit not in records]
        records |= {unit: self._told[unit] for unit in others if _is_of(self._told.get(unit), now[unit])}
        unknown = [unit for unit in others if unit not in records]
        paths = [f"{self._root}/commits/{unit}.json" for unit in unknown]
        for raw in self._filesystem.cat_ranges(paths, None, None, on_error="raise"):  # `cat` would expand wildcards
            try:
                record = CommitRecord.from_json(raw.decode())
            except (ValueError, TypeError):  # not ours, or spoilt: as good as none
                continue
            records[record.unit] = record
        return replace(known, records=records, listed={unit: listed.get(unit, "") for unit in records})

    def _listing(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """What fsspec lists of the files in one of the store's folders, by name."""
        try:
            entries = self._filesystem.ls(f"{self._root}/{folder}", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry for entry in entries if entry["type"] == "file"}

    def discard(self, names: list[str]) -> None:
        """Remove some of the store's files; without its commit record a unit is missing until it is committed again."""
        for name in names:
            with suppress(FileNotFoundError):
                self._filesystem.rm_file(f"{self._root}/{name}")


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value stands in a column, in the values' order."""
    return dict(sorted(Counter(column.to_pylist()).items()))


def _named(records: Iterable[CommitRecord]) -> set[str]:
    """The files that some commit records name, and their own."""
    return {
        name
        for record in records
        for name in (f"shards/{record.shard}", f"rejected/{record.shard}", f"commits/{record.unit}.json")
        if record.rejected or not name.startswith("rejected/")
    }


def _is_of(record: CommitRecord | None, entry: Mapping[str, Any]) -> bool:
    """Return whether a listed file can only be this record's: of its size and, where that is told, of its MD5."""
    if record is None:
        return False
    data = record.to_json().encode()
    tag = str(entry.get("ETag", "")).strip('"')
    return len(data) == entry["size"] and tag in ("", hashlib.md5(data, usedforsecurity=False).hexdigest())


def parquet_bytes(table: pa.Table) -> bytes:
    """Return the file that holds a shard or rejected pairs.

    Embeddings hardly compress and have no repeats: plain, they are read five times as fast as zstd with a dictionary.
    Other lists of floats, as coefficients are, have no repeats either. Nobody asks for the least of such numbers, which
    takes longer to find than they take to write.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), sink)
    leaves = [column.path for column in pq.read_metadata(pa.BufferReader(sink.getvalue())).schema]
    plain = {f"{field.name}.list.element" for field in table.schema if pa.types.is_fixed_size_list(field.type)}
    floats = {f"{field.name}.list.element" for field in table.schema if _is_list_of_floats(field.type)}
    compression = {leaf: "none" if leaf in plain else "zstd" for leaf in leaves}
    repeating = [leaf for leaf in leaves if leaf not in plain | floats]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, use_dictionary=repeating, write_statistics=repeating)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _is_list_of_floats(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))
