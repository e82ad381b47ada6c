"""The rule that one process opens a store and tells the others what to read, counted in requests."""

import dataclasses
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.embeddings import EmbeddingsPartConfig, sum_embeddings
from isoenergy.evaluation.fit import FitConfig, fit
from isoenergy.evaluation.measured_rows import read_places, split_units
from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore, PairIndex, StoreWriter
from isoenergy.store.commit_index import CommitIndex
from isoenergy.store.index import ShardSurvey, Survey
from isoenergy.store.row_sources import ShardRows
from tests.store.counted import counted
from tests.store.small_store import DIM, FILES, MANIFEST, rejected, shard, unit
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.training.training_data import first_pairs, first_shards
from workflows.training.training_stores import TrainingStores

SHARDS_OF_A_PART = 3


@pytest.fixture(params=[100, 10_000])
def store(request: pytest.FixtureRequest) -> EmbeddingStore:
    """A settled store of that many shards, the first of which are there."""
    return large_store("large", request.param)


def large_store(name: str, shards: int, shift: int = 0) -> EmbeddingStore:
    uri = f"counted://{name}/{shards}"
    writer = StoreWriter(uri)
    writer.begin(dataclasses.replace(MANIFEST, units=shards), FILES)
    made = [
        writer.commit(unit(number), "digest", shard(number + shift), rejected(0)) for number in range(SHARDS_OF_A_PART)
    ]
    others = [
        dataclasses.replace(made[0], unit=(each := unit(number)).name, start=each.start, shard=f"{each.name}.parquet")
        for number in range(SHARDS_OF_A_PART, shards)
    ]
    records = {record.unit: record for record in (*made, *others)}
    CommitIndex(records, dict.fromkeys(records, "")).write(*open_filesystem(uri), settled=True)
    with counted() as requests:
        opened = EmbeddingStore.open(uri)
    assert len(requests) == 2
    return opened


def test_a_part_of_an_evaluation_reads_its_shards_and_nothing_else(store: EmbeddingStore, tmp_path: Path) -> None:
    pairs = SHARDS_OF_A_PART * 10
    fit_on = large_store("fitted", len(store.commits), shift=1)
    measured = MeasuredPairs.of(
        store, "all", Draw(sample=8, in_batches=8, queries=8, seed=0), fit_pairs=pairs, part_pairs=pairs, fit_on=fit_on
    )
    assert len(measured.parts) == -(-len(store.commits) // SHARDS_OF_A_PART)
    config = EmbeddingsPartConfig(measured.parts[0], measured.draw, measured.pairs)
    assert isinstance(measured.fitting, FitConfig)
    fitting = dataclasses.replace(measured.fitting, units=tuple(islice(split_units(fit_on, "train"), SHARDS_OF_A_PART)))
    sent = pickle.dumps([config, fitting])
    assert len(sent) < 4096
    part, fitted = pickle.loads(sent)
    with counted() as requests:
        assert sum_embeddings(part, {}, tmp_path) == {"pairs": pairs}
    assert [request.split("/")[-2] for request in requests] == ["shards"] * SHARDS_OF_A_PART
    with counted() as requests:
        assert fit(fitted, {}, tmp_path)["pairs"] > 0
    assert len(requests) == SHARDS_OF_A_PART
    with counted() as requests:
        assert read_places([part.part], np.array([0, 11]))["row"].to_pylist() == [0, 1]
    assert all("/shards/" in request for request in requests)


def test_a_worker_of_a_training_reads_its_shards_and_nothing_else(store: EmbeddingStore) -> None:
    surveys = [Survey([ShardSurvey(each.shard, each.pairs_in("train"), {})], {}) for each in store.commits]
    index = PairIndex.collect(store, "train", [*surveys, Survey([], {"image": np.ones(DIM), "text": np.ones(DIM)})])
    stores = TrainingStores(store.uri, store.uri)
    validation = first_shards(stores, {store.uri: store}, "validation", most=1)
    index, validation = pickle.loads(pickle.dumps((index, validation)))
    with counted() as requests:
        images = ShardRows(index).take(np.arange(index.starts[SHARDS_OF_A_PART]))["image"]
        assert len(images) == index.starts[SHARDS_OF_A_PART]
        assert first_pairs(validation, most=1) is not None
    assert all("/shards/" in request for request in requests)
    assert len(requests) <= SHARDS_OF_A_PART + len(validation[0].names)
