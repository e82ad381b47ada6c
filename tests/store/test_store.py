import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.parquet import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from isoenergy.store.manifest import CommitRecord
from isoenergy.store.schema import REJECTED, shard_schema

DIM = 3
MANIFEST = Manifest(
    encoder="bundled",
    encoder_digest="d" * 64,
    preprocessing={"size": 64},
    dim=DIM,
    dtype="float16",
    source="here",
    source_fingerprint="s" * 64,
    columns={"key": "key"},
    rows=30,
    rows_per_unit=10,
    units=3,
    software={},
)


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


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    writer = StoreWriter(str(tmp_path / "store"))
    writer.begin(MANIFEST)
    for number in range(2):
        writer.commit(unit(number), shard(number), rejected(0))
    writer.commit(unit(2), shard(2, rows=8), rejected(2))
    return tmp_path / "store"


def test_what_was_committed_is_read(filled: Path) -> None:
    store = EmbeddingStore.open(str(filled))
    store.require_complete()
    arrays = store.to_arrays()
    assert len(store) == len(arrays) == 28
    assert store.rejected == {"empty_image": 2}
    assert arrays.keys[:2].tolist() == ["0-0", "0-1"]
    assert arrays.images.dtype == np.float16
    assert arrays.images[11].tolist() == [4, 5, 6]
    test = store.to_arrays("test")
    assert all(split_of(key) == "test" for key in test.keys)
    assert 0 < len(test) == store.pairs_in("test") < 28


def test_plain_pyarrow_reads_a_shard(filled: Path) -> None:
    table = pq.read_table(filled / "shards")
    assert len(table) == 28
    assert table.schema.field("image").type == pa.list_(pa.float16(), DIM)


def test_a_unit_without_a_record_does_not_exist(filled: Path) -> None:
    (filled / "commits" / f"{unit(1).name}.json").unlink()
    assert set(StoreWriter(str(filled)).committed()) == {unit(0).name, unit(2).name}
    with pytest.raises(InputError, match="lacks 1 of its 3 units"):
        EmbeddingStore.open(str(filled)).require_complete()


def test_a_shard_cut_short_or_gone_is_done_again(filled: Path) -> None:
    file = filled / "shards" / f"{unit(0).name}.parquet"
    file.write_bytes(file.read_bytes()[:-10])
    (filled / "shards" / f"{unit(1).name}.parquet").unlink()
    assert set(StoreWriter(str(filled)).committed()) == {unit(2).name}
    (filled / "commits" / f"{unit(2).name}.json").write_text('{"unit": "half a rec')
    assert StoreWriter(str(filled)).committed() == {}


def test_rows_must_add_up(tmp_path: Path) -> None:
    writer = StoreWriter(str(tmp_path))
    with pytest.raises(ValueError, match="10 rows in, but 9 embedded"):
        writer.commit(unit(0), shard(0, rows=9), rejected(0))
    assert not writer.committed()


def test_another_encoder_is_named(filled: Path) -> None:
    other = dataclasses.replace(MANIFEST, encoder="other", encoder_digest="e" * 64, dim=4)
    with pytest.raises(InputError, match=r"encoder_digest is .* dim is 3 there and 4 here"):
        StoreWriter(str(filled)).begin(other)
    moved = dataclasses.replace(MANIFEST, source="elsewhere", software={"torch": "9"})
    StoreWriter(str(filled)).begin(moved)


def test_no_store_and_a_broken_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an embedding store"):
        EmbeddingStore.open(str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is not a manifest"):
        EmbeddingStore.open(str(tmp_path))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        StoreWriter(str(tmp_path / "file" / "store")).begin(MANIFEST)


def test_a_record_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="3 rows in, but 1 embedded"):
        CommitRecord("u", "f", 0, 3, 1, 1, {}, {}, 0, "")
