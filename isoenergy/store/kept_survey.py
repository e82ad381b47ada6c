"""What surveys of a store's shards have found, kept with the store: a shard is looked at once, not once a training."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.pairs.splits import Split
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.store.contents import StoreContents
from isoenergy.store.index import ShardSurvey, Survey

_SUMS = b"sums"
_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("shard_sha256", pa.string()),
        ("pairs", pa.int64()),
        ("bad", pa.map_(pa.int64(), pa.string())),
    ]
)


def kept_survey(store: StoreContents, split: Split, modalities: Sequence[str]) -> Survey | None:
    """Return what was found of those of a store's shards that were looked at; None if that cannot be used.

    A survey whose shards are not all as they were then cannot: its sums are of all of them.
    """
    filesystem, root = open_filesystem(store.uri)
    try:
        data = filesystem.cat_file(f"{root}/{_file(store, split, modalities)}")
        table = pq.read_table(pa.BufferReader(data))
        sums = json.loads((table.schema.metadata or {})[_SUMS])
        rows = [table[name].to_pylist() for name in _SCHEMA.names]
    except (FileNotFoundError, NotADirectoryError, pa.ArrowException, KeyError, ValueError):
        return None
    digests = {record.shard: record.shard_sha256 for record in store.commits}
    if any(digests.get(shard) != digest for shard, digest in zip(rows[0], rows[1], strict=True)):
        return None
    shards = [ShardSurvey(shard, pairs, dict(bad)) for shard, _, pairs, bad in zip(*rows, strict=True)]
    return Survey(shards, {name: np.array(values) for name, values in sums.items()})


def keep_survey(store: StoreContents, split: Split, modalities: Sequence[str], survey: Survey) -> None:
    """Keep what was found of some of a store's shards; raises OSError if it cannot be written."""
    digests = {record.shard: record.shard_sha256 for record in store.commits}
    columns = [
        [shard.shard for shard in survey.shards],
        [digests[shard.shard] for shard in survey.shards],
        [shard.pairs for shard in survey.shards],
        [list(shard.bad.items()) for shard in survey.shards],
    ]
    sums = json.dumps({name: values.tolist() for name, values in survey.sums.items()})
    schema = _SCHEMA.with_metadata({_SUMS: sums})
    arrays = [pa.array(values, each.type) for values, each in zip(columns, _SCHEMA, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=schema), sink, compression="zstd")
    filesystem, root = open_filesystem(store.uri)
    write_atomically(filesystem, f"{root}/{_file(store, split, modalities)}", sink.getvalue().to_pybytes())


def _file(store: StoreContents, split: Split, modalities: Sequence[str]) -> str:
    """Name of the file: which rows are bad depends on the modalities that are looked at."""
    some = list(modalities) != list(store.manifest.modalities)
    return "-".join(["survey", split, *(modalities if some else ())]) + ".parquet"
