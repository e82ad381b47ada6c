"""A store of three units, and what it is made of."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema

DIM = 3
MANIFEST = Manifest(
    encoder="bundled",
    encoder_digest="d" * 64,
    preprocessing={"size": 64},
    dim=DIM,
    dtype="float16",
    precision="float32",
    source="here",
    source_images="",
    source_format="parquet",
    columns={"key": "key", "image": "image", "caption": "caption"},
    passed_through={},
    rows_per_unit=10,
    batch_rows=5,
    units=3,
    software={},
)
FILES = ["pairs.parquet"]


def unit(number: int) -> PairUnit:
    return PairUnit("pairs.parquet", number * 10, number * 10 + 10)


def shard(number: int, rows: int = 10) -> pa.Table:
    keys = [f"{number}-{row}" for row in range(rows)]
    vectors = np.arange(rows * DIM, dtype=np.float16) + number
    column = pa.FixedSizeListArray.from_arrays(vectors, DIM)
    columns = {
        "key": keys,
        "row": list(range(rows)),
        "split": [split_of(key) for key in keys],
        "caption": keys,
        "image": column,
        "text": column,
    }
    return pa.table(columns, schema=shard_schema(DIM, "float16", pa.schema([])))


def rejected(count: int) -> pa.Table:
    rows = [{"key": "k", "file": "f", "row": 1, "reason": "empty_image", "detail": ""}] * count
    return pa.Table.from_pylist(rows, schema=REJECTED)


def fill(folder: Path) -> Path:
    """Make the store in a new folder below `folder`; return where it is."""
    writer = StoreWriter(str(folder / "store"))
    writer.begin(MANIFEST, FILES)
    for number in range(2):
        writer.commit(unit(number), "digest", shard(number), rejected(0))
    writer.commit(unit(2), "digest", shard(2, rows=8), rejected(2))
    return folder / "store"
