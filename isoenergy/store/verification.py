"""Whether a store still holds what was committed."""

import hashlib
import re

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.store.manifest import CommitRecord, Manifest
from isoenergy.store.reader import EmbeddingStore
from isoenergy.store.schema import REJECTED, stored_names, vectors_schema

_LIST_OF = re.compile(r"list<\w+: ")
"""Parquet gives a list's items another name."""


def faults(store: EmbeddingStore, record: CommitRecord) -> list[str]:
    """Return what is wrong with a unit's files, in words; reads them whole, as the store's users do.

    Raises OSError if a file that is there cannot be read just now.
    """
    files = [("shards", record.shard_sha256, record.pairs_in("all"), shard_columns(store.manifest))]
    if record.rejected:
        files.append(("rejected", record.rejected_sha256, record.rejected, _columns(REJECTED)))
    found = []
    lent = dict(store.manifest.modalities) if store.manifest.view_of else {}
    for folder, digest, rows, columns in files:
        name = f"{folder}/{record.shard}"
        try:
            data = store.read_file(name)
            if hashlib.sha256(data).hexdigest() != digest:
                found.append(f"{name} is not the file that was committed: its SHA-256 differs")
            else:
                found += [f"{name} {fault}" for fault in _faults_of_table(data, rows, columns)]
                if lent and folder == "shards":
                    store.shards.decoded(data, [*lent])
        except FileNotFoundError:
            found.append(f"{name} is not there")
        except (InputError, pa.ArrowException) as error:
            found.append(f"{name} lends what is no longer there: {error}")
    return found


def shard_columns(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the names and types of the columns that each of a store's shards has, in order."""
    own = vectors_schema({} if manifest.view_of else manifest.modalities, manifest.dtype, pa.schema([]))
    names = stored_names(list(manifest.passed_through), manifest.modalities)
    kinds = [_LIST_OF.sub("list<", kind) for kind in manifest.passed_through.values()]
    return _columns(own) + list(zip(names, kinds, strict=True))


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, _LIST_OF.sub("list<", str(field.type))) for field in schema]


def _faults_of_table(data: bytes, rows: int, columns: list[tuple[str, str]]) -> list[str]:
    try:
        table = pq.read_table(pa.BufferReader(data))
        table.slice(0, 1).to_pandas()
    except (pa.ArrowException, ValueError, TypeError) as error:
        return [f"cannot be read as a table ({' '.join(str(error).split())})"]
    found = []
    if len(table) != rows:
        found.append(f"has {len(table)} rows, and its commit record says {rows}")
    there = _columns(table.schema)
    if differing := [f"{name} ({kind})" for name, kind in sorted(set(there) ^ set(columns))]:
        found.append(f"has other columns than the manifest says: {', '.join(differing)} on one side alone")
    elif len(there) != len(columns):
        found.append(f"has a column twice: {', '.join(name for name, _ in there)}")
    return found
