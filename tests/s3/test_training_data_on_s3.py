"""What a training reads from a store on S3: looked at, streamed and loaded, also while requests fail."""

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.storage import s3 as s3_module
from isoenergy.storage.s3 import S3Error
from isoenergy.store import EmbeddingStore, PairBatches, PairIndex, StoreWriter
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ShardRows, open_rows
from tests.s3.proxy import Fault, FaultProxy, matching, share
from tests.s3.seaweedfs import S3Server
from tests.store.stores import rewrite, with_row, write_store

pytestmark = pytest.mark.server
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.RESET]
SHARDS = [9, 0, 30, 1, 24]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def store(s3: S3Server) -> EmbeddingStore:
    return write_store(f"s3://{s3.bucket()}/a [folder]/store", SHARDS, others=2, refused=1)


def streamed(index: PairIndex, rank: int = 0, workers: int = 1) -> PairBatches:
    return PairBatches(PairOrder(index.starts, 8, 0, 16), ShardRows(index), rank, workers)


def shard_reads(proxy: FaultProxy) -> Counter[str]:
    return Counter(request.target for request in proxy.requests if "/shards/" in request.target)


def test_index_and_batches_are_those_of_the_same_store_on_disk(
    store: EmbeddingStore, tmp_path: Path, proxy: FaultProxy
) -> None:
    local = PairIndex.build(write_store(str(tmp_path), SHARDS, others=2, refused=1), "train")
    index = PairIndex.build(store, "train")
    assert set(shard_reads(proxy).values()) == {1}
    assert (index.counts, index.shards, index.means) == (local.counts, local.shards, local.means)
    for workers in (1, 3):
        for rank in range(workers):
            there, here = (list(streamed(each, rank, workers).epoch(1)) for each in (index, local))
            assert len(there) == len(here) == sum(SHARDS) // 8
            assert all(map(torch.equal, chain(*there), chain(*here)))
    loaded, expected = (open_rows(each, "memory", CPU, NodeGroup()).take(np.arange(64)) for each in (index, local))
    assert all(torch.equal(loaded[name], expected[name]) for name in ("image", "text"))


def test_an_epoch_reads_each_shard_once(store: EmbeddingStore, proxy: FaultProxy) -> None:
    batches = streamed(PairIndex.build(store, "train"))
    proxy.begin_anew()
    assert sum(1 for _ in batches.epoch(0)) == 8
    assert set(shard_reads(proxy).values()) == {1}
    assert len(shard_reads(proxy)) == 4


def test_faults_on_any_request_change_nothing(store: EmbeddingStore, proxy: FaultProxy) -> None:
    index = PairIndex.build(store, "train")
    expected = list(streamed(index).epoch(0))
    proxy.begin_anew()
    proxy.rule = share(0.4, *PASSING)
    assert PairIndex.build(EmbeddingStore.open(store.uri), "train") == index
    found = list(streamed(index).epoch(0))
    assert len(found) == len(expected)
    assert all(map(torch.equal, chain(*found), chain(*expected)))
    assert sum(proxy.done[fault] for fault in PASSING) > 3


def test_an_outage_in_mid_training_is_an_error_that_names_the_shard(
    store: EmbeddingStore, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = PairIndex.build(store, "train")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.rule = matching(store.commits[2].shard, Fault.SLOW_DOWN)
    for read in (
        lambda: list(streamed(index).epoch(0)),
        lambda: open_rows(index, "memory", CPU, NodeGroup()),
        lambda: PairIndex.build(store, "train"),
    ):
        with pytest.raises(
            InputError, match=rf"shards/{store.commits[2].shard} cannot be read .* in 2 attempts"
        ) as caught:
            read()
        assert isinstance(caught.value.__cause__, S3Error)


def test_what_is_bad_is_named_with_its_address(store: EmbeddingStore) -> None:
    record = store.commits[2]
    train = store.read_unit(record.unit)["split"].to_pylist().index("train")
    bad = rewrite(store, record, lambda table: with_row(table, "text", train, [np.nan, 0, 0]))
    with pytest.raises(InputError, match=rf"s3://.*/shards/.*, row {train}, key .*: text is not finite"):
        PairIndex.build(bad, "train")
    index = PairIndex.build(bad, "train", skip_bad_rows=True)
    assert index.counts == (9, 29, 1, 24)
    StoreWriter(bad.uri).discard([f"shards/{record.shard}"])
    with pytest.raises(InputError, match=rf"{record.shard} cannot be read"):
        list(streamed(index).epoch(0))
