import gc
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from fsspec.implementations.local import LocalFileSystem

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, PairBatches, PairIndex
from isoenergy.store import row_sources as pair_rows
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows, ShardRows, open_rows
from tests.node_processes import run_processes
from tests.store.small_store import DIM
from tests.store.stores import rewrite, with_column, with_row, write_store

CPU = torch.device("cpu")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each shard was read."""
    found: Counter[str] = Counter()
    lock, read = threading.Lock(), LocalFileSystem.cat_file

    def counted(self: LocalFileSystem, path: str, *arguments: Any, **options: Any) -> bytes:
        if "/shards/" in path:
            with lock:
                found[path.rsplit("/", 1)[-1]] += 1
        return read(self, path, *arguments, **options)

    monkeypatch.setattr(LocalFileSystem, "cat_file", counted)
    return found


def streaming(index: PairIndex, batch: int = 16, window: int = 64, rank: int = 0, workers: int = 1) -> PairBatches:
    return PairBatches(PairOrder(index.starts, batch, 0, window), ShardRows(index), rank, workers)


def test_streaming_reads_each_shard_once_an_epoch(tmp_path: Path, reads: Counter[str]) -> None:
    index = PairIndex.build(write_store(str(tmp_path), [30, 5, 1, 44, 30, 30, 20, 30] * 3, others=2), "train")
    batches = streaming(index)
    for epoch in range(3):
        reads.clear()
        assert sum(1 for _ in batches.epoch(epoch)) == batches.steps
        assert max(reads.values()) == 1
        assert reads.keys() <= set(index.shards)


def test_workers_read_the_shards_of_their_own_lanes(tmp_path: Path, reads: Counter[str]) -> None:
    index = PairIndex.build(write_store(str(tmp_path), [20] * 32), "train")
    for workers in (2, 4):
        reads.clear()
        for rank in range(workers):
            for _ in streaming(index, rank=rank, workers=workers).epoch(0):
                pass
        # twice: where two workers' lanes meet, and that in which the ring of shards is opened
        assert sum(reads.values()) <= 32 + workers
        assert max(reads.values()) <= 2


def test_no_more_decoded_pairs_are_kept_than_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_rows, "_KEPT_PAIRS", 100)
    index = PairIndex.build(write_store(str(tmp_path), [40, 3, 40, 25, 40, 10, 40]), "train")
    rows, kept = ShardRows(index), []
    keep = rows._keep

    def watched(*arguments: Any) -> None:
        keep(*arguments)
        kept.append(sum(index.counts[shard] for shard in rows._unfinished))

    monkeypatch.setattr(rows, "_keep", watched)
    order = PairOrder(index.starts, 16, 0, 16)
    got = [images for images, _ in PairBatches(order, rows).epoch(0)]
    assert 0 < max(kept) <= 100
    expected = PairBatches(order, open_rows(index, "memory", CPU, NodeGroup())).epoch(0)
    assert all(torch.equal(mine, images) for mine, (images, _) in zip(got, expected, strict=True))
    monkeypatch.setattr(pair_rows, "_KEPT_PAIRS", 0)
    assert all(map(torch.equal, got, [images for images, _ in PairBatches(order, ShardRows(index)).epoch(0)]))


def cut_short(store: EmbeddingStore, file: Path) -> None:
    del store
    file.write_bytes(file.read_bytes()[:-10])


def emptied(store: EmbeddingStore, file: Path) -> None:
    del store
    file.write_bytes(b"")


def vanished(store: EmbeddingStore, file: Path) -> None:
    del store
    file.unlink()


def with_fewer_rows(store: EmbeddingStore, file: Path) -> None:
    del file
    rewrite(store, store.commits[3], lambda table: table.slice(1))


def without_texts(store: EmbeddingStore, file: Path) -> None:
    del file
    rewrite(store, store.commits[3], lambda table: table.drop_columns(["text"]))


def wider(store: EmbeddingStore, file: Path) -> None:
    del file

    def change(table: pa.Table) -> pa.Table:  # a width that the shard's numbers also divide by
        vectors = np.ones(len(table) * 2 * DIM, np.float16)
        return with_column(table, "text", pa.FixedSizeListArray.from_arrays(vectors, 2 * DIM))

    rewrite(store, store.commits[3], change)


def of_another_precision(store: EmbeddingStore, file: Path) -> None:
    del file
    vector = pa.list_(pa.float32(), DIM)
    rewrite(store, store.commits[3], lambda table: with_column(table, "image", table["image"].cast(vector)))


@pytest.mark.parametrize(
    "damage", [cut_short, emptied, vanished, with_fewer_rows, without_texts, wider, of_another_precision]
)
def test_a_shard_that_is_changed_in_mid_training_is_named(tmp_path: Path, damage: Any) -> None:
    store = write_store(str(tmp_path), [30] * 8)
    index = PairIndex.build(store, "train")
    name = store.commits[3].shard
    batches = streaming(index, batch=1, window=1)
    epoch = batches.epoch(0)
    next(epoch)
    damage(store, tmp_path / "shards" / name)
    with pytest.raises(InputError, match=name):
        for _ in (pair for number in range(3) for pair in batches.epoch(number)):
            pass
    with pytest.raises(InputError, match=name):
        open_rows(index, "memory", CPU, NodeGroup())
    gc.collect()
    assert not [link for link in descriptors() if "isoenergy-pairs" in link]


def test_bad_pairs_are_left_out_of_what_is_read(tmp_path: Path) -> None:
    store = write_store(str(tmp_path), [5, 2, 6], others=3)
    trains = store.read_unit(store.commits[2].unit)["split"].to_pylist()
    row = [place for place, split in enumerate(trains) if split == "train"][4]
    store = rewrite(store, store.commits[2], lambda table: with_row(table, "text", row, [np.nan, 1, 1]))
    index = PairIndex.build(store, "train", skip_bad_rows=True)
    expected = np.delete(store.to_arrays("train").images, 5 + 2 + 4, axis=0)
    for residence in ("memory", "stream"):
        taken = open_rows(index, residence, CPU, NodeGroup()).take(np.arange(12))
        np.testing.assert_array_equal(taken["image"], expected)
        np.testing.assert_array_equal(taken["text"], -expected)


def test_what_does_not_fit_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = PairIndex.build(write_store(str(tmp_path), [5]), "train")
    assert isinstance(open_rows(index, "auto", CPU, NodeGroup()), ArrayRows)
    monkeypatch.setattr(pair_rows, "available_memory", lambda: 2 * index.nbytes - 1)
    assert isinstance(open_rows(index, "auto", CPU, NodeGroup()), ShardRows)
    monkeypatch.undo()
    assert 2**20 < pair_rows.available_memory() < 2**50


def mappings() -> list[str]:
    """Device and inode of the shared pairs that this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({" ".join(line.split()[3:5]) for line in lines if "isoenergy-pairs" in line})


def one_of_a_node(rank: int, workers: int, folder: str, said: str) -> None:
    """Open an index's pairs in memory with the others, look at them, and write down what was found."""
    dist.init_process_group("gloo", f"file://{said}/meeting", rank=rank, world_size=workers)
    node = NodeGroup.form()
    index = PairIndex.from_json((Path(folder) / "index.json").read_text())
    found: dict[str, Any] = {"node": [node.rank, node.size]}
    try:
        rows = open_rows(index, "memory", CPU, node)
    except InputError as error:
        found["error"] = str(error)
    else:
        before = rows.take(np.arange(len(index)))["image"].clone()
        node.barrier()
        if rank == workers - 1:
            rows._arrays["image"][0] = 77  # type: ignore[attr-defined]
        node.barrier()
        found |= {"pairs": before.tolist(), "first": rows.take(np.array([0]))["image"].tolist()}
        found |= {"maps": mappings(), "open": sum("isoenergy-pairs" in link for link in descriptors())}
        node.barrier()
    (Path(said) / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def descriptors() -> list[str]:
    folder = Path("/proc/self/fd")
    return [os.readlink(each) for each in folder.iterdir() if os.path.lexists(each)]


def run_node(folder: Path, said: Path, workers: int) -> list[dict[str, Any]]:
    said.mkdir()
    run_processes(one_of_a_node, (workers, str(folder), str(said)), workers)
    return [json.loads((said / f"{rank}.json").read_text()) for rank in range(workers)]


def test_the_processes_of_a_node_share_one_copy(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), [5, 1, 6], others=2)
    (tmp_path / "store" / "index.json").write_text(PairIndex.build(store, "train").to_json())
    left = [set(Path(place).iterdir()) for place in ("/dev/shm", "/tmp")]
    found = run_node(tmp_path / "store", tmp_path / "said", workers=3)
    assert [each["node"] for each in found] == [[rank, 3] for rank in range(3)]
    expected = store.to_arrays("train").images.tolist()
    assert all(each["pairs"] == expected for each in found)
    assert all(each["first"] == [[77, 77, 77]] for each in found)
    assert len({tuple(each["maps"]) for each in found}) == len(found[0]["maps"]) == 1
    assert [each["open"] for each in found] == [1, 1, 1]  # that of the mapping
    for place, before in zip(("/dev/shm", "/tmp"), left, strict=True):
        assert not [path for path in set(Path(place).iterdir()) - before if "isoenergy" in path.name]


def test_what_fails_in_one_process_of_a_node_is_said_in_all(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), [5, 1, 6])
    (tmp_path / "store" / "index.json").write_text(PairIndex.build(store, "train").to_json())
    (tmp_path / "store" / "shards" / store.commits[1].shard).unlink()
    found = run_node(tmp_path / "store", tmp_path / "said", workers=2)
    assert all(f"shards/{store.commits[1].shard} cannot be read" in each["error"] for each in found)
