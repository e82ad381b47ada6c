"""Whether a store still holds what was committed."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.store.manifest import CommitRecord
from isoenergy.store.reader import EmbeddingStore


def faults(store: EmbeddingStore, record: CommitRecord) -> list[str]:
    """Return what is wrong with a unit's files, in words; reads them whole.

    Raises OSError if a file that is there cannot be read just now.
    """
    files = [("shards", record.shard_sha256, record.embedded)]
    if record.rejected:
        files.append(("rejected", record.rejected_sha256, record.rejected))
    found = []
    for folder, digest, rows in files:
        name = f"{folder}/{record.shard}"
        try:
            data = store.read_file(name)
            if hashlib.sha256(data).hexdigest() != digest:
                found.append(f"{name} is not the file that was committed: its SHA-256 differs")
            elif (there := pq.read_metadata(pa.BufferReader(data)).num_rows) != rows:
                found.append(f"{name} has {there} rows, and its commit record says {rows}")
        except FileNotFoundError:
            found.append(f"{name} is not there")
    return found
