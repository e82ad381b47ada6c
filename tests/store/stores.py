"""Small stores of pairs that can be told apart, and shards that are bad."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from itertools import chain, count

import numpy as np
import pyarrow as pa
from torch import Tensor

from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.manifest import CommitRecord, StoredDtype
from isoenergy.store.schema import shard_schema
from isoenergy.store.writer import parquet_bytes
from tests.store.small_store import DIM, FILES, MANIFEST, rejected


def write_store(
    uri: str,
    train: Sequence[int],
    others: int = 0,
    refused: int = 0,
    dtype: StoredDtype = "float16",
    classes: Callable[[str], object] | None = None,
    kind: pa.DataType | None = None,
) -> EmbeddingStore:
    """Fill a store: so many train pairs in each shard, among them `others` of the other splits; see `numbers`.

    classes: a key's value in a column of that name, of text or of another `kind`; None: there is no such column.
    """
    writer = StoreWriter(uri)
    writer.begin(dataclasses.replace(MANIFEST, dtype=dtype, units=len(train)), FILES)
    names = map(str, count())
    number = start = 0
    for pairs in train:
        keys: list[str] = []
        while len(keys) < pairs + others:
            key = next(names)
            trained = sum(split_of(each) == "train" for each in keys)
            if trained < pairs if split_of(key) == "train" else len(keys) - trained < others:
                keys.append(key)
        rows = np.arange(number, number + len(keys))
        vectors = np.stack([rows // 1000 + 1, rows % 1000 + 1, np.ones_like(rows)], axis=1).astype(dtype)
        image, text = (pa.FixedSizeListArray.from_arrays(part.ravel(), DIM) for part in (vectors, -vectors))
        columns = {
            "key": keys,
            "row": rows.tolist(),
            "split": [split_of(key) for key in keys],
            "caption": keys,
            "image": image,
            "text": text,
            **({"classes": list(map(classes, keys))} if classes else {}),
        }
        unit = PairUnit(FILES[0], start, start + len(keys) + refused)
        schema = shard_schema(DIM, dtype, pa.schema([("classes", kind or pa.string())] if classes else []))
        writer.commit(unit, "digest", pa.table(columns, schema=schema), rejected(refused))
        number, start = number + len(keys), start + len(keys) + refused
    return EmbeddingStore.open(uri)


def numbers(images: Tensor) -> list[int]:
    """Return the numbers, in the whole store, of pairs that `write_store` wrote, from their `(pairs, dim)` images."""
    return ((images[:, 0].double() - 1) * 1000 + images[:, 1].double() - 1).long().tolist()


def train_numbers(store: EmbeddingStore) -> list[int]:
    """Return the numbers of the train pairs, in the store's order."""
    rows = [store.read_unit(record.unit, ["row"], "train")["row"].to_pylist() for record in store.commits]
    return list(chain(*rows))


def rewrite(store: EmbeddingStore, record: CommitRecord, change: Callable[[pa.Table], pa.Table]) -> EmbeddingStore:
    """Change a shard, and its commit record's digest with it."""
    data = parquet_bytes(change(store.read_unit(record.unit)))
    filesystem, root = open_filesystem(store.uri)
    filesystem.pipe_file(f"{root}/shards/{record.shard}", data)
    told = dataclasses.replace(record, shard_bytes=len(data), shard_sha256=hashlib.sha256(data).hexdigest())
    filesystem.pipe_file(f"{root}/commits/{record.unit}.json", told.to_json().encode())
    return EmbeddingStore.open(store.uri)


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Return the table with another column in the place of `name`."""
    return table.set_column(table.schema.get_field_index(name), name, values)


def with_row(table: pa.Table, name: str, row: int, vector: Sequence[float]) -> pa.Table:
    """Return the table with another embedding in one row."""
    old = table.schema.field(name).type
    vectors = np.stack(table[name].to_numpy()).astype(old.value_type.to_pandas_dtype())
    vectors[row] = vector
    return with_column(table, name, pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM))
