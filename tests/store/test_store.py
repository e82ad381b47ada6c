import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.splits import split_of
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.manifest import CommitRecord
from isoenergy.store.retry import merge
from isoenergy.store.schema import REJECTED
from isoenergy.store.verification import faults
from isoenergy.store.writer import parquet_bytes
from tests.store.small_store import DIM, FILES, MANIFEST, rejected, shard, unit


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


def test_lists_of_floats_have_neither_a_dictionary_nor_statistics() -> None:
    lists = pa.array([[0.5, 0.25]] * 10, pa.list_(pa.float16()))
    group = pq.read_metadata(pa.BufferReader(parquet_bytes(shard(0).append_column("codes", lists)))).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    without = {c.path_in_schema for c in columns if not c.has_dictionary_page and not c.is_stats_set}
    assert without == {f"{name}.list.element" for name in ("image", "text", "codes")}
    plain = {c.path_in_schema for c in columns if c.compression == "UNCOMPRESSED"}
    assert plain == {f"{name}.list.element" for name in ("image", "text")}
    assert {c.path_in_schema for c in columns if c.is_stats_set} >= {"key", "split"}


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


def test_a_record_is_written_after_all_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(str(tmp_path / "store"))
    writer.begin(MANIFEST, FILES)
    written: list[str] = []
    monkeypatch.setattr("isoenergy.store.writer.write_atomically", lambda _, path, __: written.append(path))
    writer.commit(unit(0), "digest", shard(0, rows=8), rejected(2))
    folders = [path.split("/")[-2] for path in written]
    assert sorted(folders[:-1]) == ["rejected", "shards"]
    assert folders[-1] == "commits"


def test_rows_must_add_up(tmp_path: Path) -> None:
    writer = StoreWriter(str(tmp_path))
    with pytest.raises(ValueError, match="10 rows in, but 9 embedded"):
        writer.commit(unit(0), "digest", shard(0, rows=9), rejected(0))
    nine = shard(0, rows=9)
    with pytest.raises(ValueError, match="of 10 rows some stand twice"):
        writer.commit(unit(0), "digest", pa.concat_tables([nine, nine.slice(8)]), rejected(1))
    assert not writer.committed()


def test_another_encoder_is_named(filled: Path) -> None:
    other = dataclasses.replace(MANIFEST, encoder="other", encoder_digest="e" * 64, dim=4)
    with pytest.raises(InputError, match=r"encoder_digest is .* dim is 3 there and 4 here"):
        StoreWriter(str(filled)).begin(other, FILES)
    moved = dataclasses.replace(MANIFEST, source="elsewhere", software={"torch": "9"})
    StoreWriter(str(filled)).begin(moved, FILES)


def test_no_store_and_a_broken_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an embedding store"):
        EmbeddingStore.open(str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="is not a manifest"):
        EmbeddingStore.open(str(tmp_path))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        StoreWriter(str(tmp_path / "file" / "store")).begin(MANIFEST, FILES)


@pytest.mark.parametrize("folder", ["shards", "rejected", "commits"])
def test_files_of_others_where_a_store_would_lie_are_left_as_they_are(folder: str, tmp_path: Path) -> None:
    own = tmp_path / folder / "vectors.parquet"
    own.parent.mkdir()
    own.write_bytes(b"somebody's")
    with pytest.raises(InputError, match=rf"{folder} holds vectors\.parquet, and no manifest\.json is there"):
        StoreWriter(str(tmp_path)).begin(MANIFEST, FILES)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [own]


def test_a_record_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="3 rows in, but 1 embedded"):
        CommitRecord("u", "f", "", 0, 3, 1, 1, {}, {}, "u.parquet", 0, "", "")


def test_a_unit_tried_again_is_whole_at_every_moment(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(str(filled))
    before = writer.committed()[unit(2).name]
    whole_shard, none_rejected = shard(2), rejected(0)

    def stopped(_names: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "discard", stopped)
        with pytest.raises(KeyboardInterrupt):
            writer.commit(unit(2), "digest", whole_shard, none_rejected, before)
    store = EmbeddingStore.open(str(filled))
    assert (len(store), store.rejected) == (30, {})
    assert len(list((filled / "shards").iterdir())) == 4
    writer.settle(3)
    assert len(list((filled / "shards").iterdir())) == 3
    assert list((filled / "rejected").iterdir()) == []
    assert EmbeddingStore.open(str(filled)).to_arrays().keys.tolist() == store.to_arrays().keys.tolist()

    writer.begin(MANIFEST, FILES)
    again = writer.committed()[unit(2).name]
    writer.commit(unit(2), "digest", shard(2, rows=9), rejected(1), again)
    assert len(EmbeddingStore.open(str(filled))) == 29
    assert len(list((filled / "shards").iterdir())) == 3


def test_a_torn_temporary_file_is_swept_and_seen_by_nobody(filled: Path) -> None:
    torn = filled / "shards" / f".{unit(1).name}.parquet.0123.tmp"
    torn.write_bytes(b"PAR1 half a sh")
    assert len(pq.read_table(filled / "shards")) == len(EmbeddingStore.open(str(filled))) == 28
    StoreWriter(str(filled)).settle(3)
    assert not torn.exists()


def test_files_keep_the_order_in_which_they_came(tmp_path: Path) -> None:
    writer = StoreWriter(str(tmp_path))
    assert writer.known_files() == []
    writer.begin(MANIFEST, ["b.parquet", "a.parquet"])
    assert StoreWriter(str(tmp_path)).known_files() == ["b.parquet", "a.parquet"]


def test_pairs_tried_again_replace_only_those_that_were_awaited() -> None:
    def refused(row: int, reason: str) -> dict:
        return {"key": f"2-{row}", "file": "f", "row": row, "reason": reason, "detail": ""}

    whole = shard(2)
    rejected_pairs = pa.Table.from_pylist(
        [refused(3, "http_server_error"), refused(5, "empty_image"), refused(8, "download_timeout")], REJECTED
    )
    embedded = whole.filter([row not in (3, 5, 8) for row in range(10)])
    new_shard = whole.filter([row in (3, 5, 6) for row in range(10)])
    new_rejected = pa.Table.from_pylist([refused(8, "http_client_error")], REJECTED)
    merged, still = merge(embedded, rejected_pairs, new_shard, new_rejected)
    assert merged["row"].to_pylist() == [0, 1, 2, 3, 4, 6, 7, 9]
    assert [(pair["row"], pair["reason"]) for pair in still.to_pylist()] == [
        (5, "empty_image"),
        (8, "http_client_error"),
    ]


def test_pandas_and_duckdb_read_a_store_alone(filled: Path) -> None:
    frame = pandas.read_parquet(filled / "shards")
    assert len(frame) == 28
    assert frame["image"].iloc[11].tolist() == [4, 5, 6]
    query = f"""
        select count(*), count(distinct key), sum(len(image::float[])), max((text::float[])[1])
        from '{filled}/shards/*.parquet'
    """
    assert duckdb.sql(query).fetchall() == [(28, 28, 28 * DIM, 28.0)]
    reasons = duckdb.sql(f"select reason, count(*) from '{filled}/rejected/*.parquet' group by reason").fetchall()
    assert reasons == [("empty_image", 2)]


def test_verification_names_what_is_spoilt(filled: Path) -> None:
    store = EmbeddingStore.open(str(filled))
    assert [faults(store, record) for record in store.commits] == [[], [], []]
    first, second, third = (record.shard for record in store.commits)
    flipped = bytearray((filled / "shards" / first).read_bytes())
    flipped[40] ^= 1
    (filled / "shards" / first).write_bytes(flipped)
    (filled / "shards" / second).unlink()
    (filled / "rejected" / third).write_bytes(b"")
    found = [faults(store, record) for record in store.commits]
    assert found == [
        [f"shards/{first} is not the file that was committed: its SHA-256 differs"],
        [f"shards/{second} is not there"],
        [f"rejected/{third} is not the file that was committed: its SHA-256 differs"],
    ]


def test_verification_opens_a_shard_as_its_users_do(filled: Path) -> None:
    store = EmbeddingStore.open(str(filled))
    first, second, third = store.commits
    recommit(filled, first, lambda table: table.append_column("text", table["text"]))
    recommit(filled, second, lambda table: table.append_column("extra", table["key"]))
    recommit(filled, third, lambda table: table.drop_columns(["caption"]))
    store = EmbeddingStore.open(str(filled))
    found = [" ".join(faults(store, record)) for record in store.commits]
    assert found[0].startswith(f"shards/{first.shard} cannot be read as a table (")
    assert "text" in found[0]
    differ = "has other columns than the manifest says"
    assert found[1] == f"shards/{second.shard} {differ}: extra (string) on one side alone"
    assert found[2] == f"shards/{third.shard} {differ}: caption (string) on one side alone"


def recommit(folder: Path, record: CommitRecord, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a shard and what its commit record says of its bytes."""
    data = parquet_bytes(change(pq.read_table(folder / "shards" / record.shard)))
    (folder / "shards" / record.shard).write_bytes(data)
    told = dataclasses.replace(record, shard_bytes=len(data), shard_sha256=hashlib.sha256(data).hexdigest())
    (folder / "commits" / f"{record.unit}.json").write_text(told.to_json())
