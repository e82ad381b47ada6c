"""A store's shards are looked at once, whatever number of trainings follow."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, PairIndex
from isoenergy.store.index import survey_shards
from tests.store.stores import rewrite, with_row, write_store
from workflows.training.training_data import prepare_indices
from workflows.training.training_here import TrainingHere
from workflows.training.training_stores import TrainingStores


class Looking(TrainingHere):
    """Counts the shards that are looked at."""

    def __init__(self) -> None:
        self.shards: list[str] = []

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        assert function is survey_shards
        self.shards += [record.shard for task in tasks for record in task[1]]
        return super().each(function, tasks)


def prepared(store: EmbeddingStore, output: Path, skip_bad_rows: bool = False) -> tuple[PairIndex, list[str]]:
    """The index of a training, and what was looked at for it."""
    looking = Looking()
    stores = TrainingStores(store.uri, store.uri)
    (index,) = prepare_indices(stores, {store.uri: store}, str(output), skip_bad_rows, looking)
    return index, looking.shards


def test_a_second_training_looks_at_nothing(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), [5, 3, 20], others=2)
    first, looked_at = prepared(store, tmp_path / "one")
    assert looked_at == [record.shard for record in store.commits]
    assert prepared(EmbeddingStore.open(store.uri), tmp_path / "two") == (first, [])
    assert first == PairIndex.build(store, "train")


def test_of_a_store_that_has_grown_what_is_new_is_looked_at(tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    prepared(write_store(place, [5, 3]), tmp_path / "one")
    grown = write_store(place, [5, 3, 4, 7])
    index, looked_at = prepared(grown, tmp_path / "two")
    assert looked_at == [record.shard for record in grown.commits[2:]]
    whole = PairIndex.build(grown, "train")
    assert (index.shards, index.counts) == (whole.shards, whole.counts)
    assert index.means["image"] == pytest.approx(whole.means["image"], rel=1e-12)


def test_of_a_shard_that_was_written_again_all_is_looked_at_anew(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), [5, 3])
    prepared(store, tmp_path / "one")
    changed = rewrite(store, store.commits[1], lambda table: with_row(table, "image", 0, [1, 1, 1]))
    index, looked_at = prepared(changed, tmp_path / "two")
    assert len(looked_at) == 2
    assert index == PairIndex.build(changed, "train")


def test_bad_rows_are_known_without_looking_again(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"), [5, 3])

    def spoilt(table: pa.Table) -> pa.Table:
        row = table["split"].to_pylist().index("train")
        return with_row(table, "text", row, [0, 0, 0])

    bad = rewrite(store, store.commits[0], spoilt)
    with pytest.raises(InputError, match=r"1 pair cannot be trained on: .*text is zero"):
        prepared(bad, tmp_path / "one")
    with pytest.raises(InputError, match=r"1 pair cannot be trained on: .*text is zero"):
        prepared(bad, tmp_path / "two")
    index, looked_at = prepared(bad, tmp_path / "two", skip_bad_rows=True)
    assert looked_at == []
    assert index == PairIndex.build(bad, "train", skip_bad_rows=True)


def test_a_store_that_cannot_keep_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = write_store(str(tmp_path / "store"), [5, 3])

    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("isoenergy.store.kept_survey.write_atomically", refused)
    with caplog.at_level(logging.WARNING):
        index, _ = prepared(store, tmp_path / "one")
    assert "cannot be kept there (read-only)" in caplog.text
    assert index == PairIndex.build(store, "train")
