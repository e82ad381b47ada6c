"""What was applied, as a Lance dataset: the table of a LanceDB database in a folder."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore

FOLDER, TABLE = "lance", "pairs"
_FINGERPRINT = b"isoenergy.fingerprint"


def require_lance(output: str) -> None:
    """Raise InputError unless a dataset can be written there."""
    if importlib.util.find_spec("lance") is None:
        raise InputError("lance needs the package pylance: pip install 'isoenergy[lance]', or another --layouts")
    if "://" in output.removeprefix("file://"):
        raise InputError(f"lance is written to a folder, and {output} is none; copy the dataset, or leave lance out")


def write_dataset(store: EmbeddingStore, output: str) -> None:
    """Write all shards of a store into `OUTPUT/lance/pairs.lance`, one after the other, unless it holds just these."""
    import lance

    path = Path(output.removeprefix("file://")) / FOLDER / f"{TABLE}.lance"
    if path.exists():
        there = lance.dataset(str(path)).schema.metadata or {}
        if there.get(_FINGERPRINT) == store.fingerprint.encode():
            return
    first = store.shards.table(store.commits[0].shard)
    schema = first.schema.with_metadata({_FINGERPRINT: store.fingerprint.encode()})

    def batches() -> Iterator[pa.RecordBatch]:
        for record in store.commits:
            if record.embedded:
                yield from store.shards.table(record.shard).replace_schema_metadata(schema.metadata).to_batches()

    path.parent.mkdir(exist_ok=True)
    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(path), mode="overwrite")
