"""The index beside the commit records: what opening costs, and that the records stay the truth."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.commit_index import INDEX_FILE, CommitIndex
from tests.store.counted import counted
from tests.store.small_store import FILES, MANIFEST, fill, rejected, shard, unit
from workflows import inspect
from workflows.inspect import InspectConfig


@pytest.fixture
def settled(filled: Path) -> Path:
    """A store of three units that a run has ended."""
    writer = StoreWriter(str(filled))
    writer.settle(3)
    writer.write_summary("{}")
    return filled


def test_an_index_holds_what_the_records_say(settled: Path) -> None:
    records = [record for _, record in sorted(StoreWriter(str(settled)).records().items())]
    for file in (settled / "commits").iterdir():
        file.unlink()  # the index alone is read
    store = EmbeddingStore.open(str(settled))
    assert store.commits == records
    assert store.rejected == {"empty_image": 2}
    table = pq.read_table(settled / INDEX_FILE)
    assert table["unit"].to_pylist() == [record.unit for record in records]
    assert dict(table["rejected_by_reason"].to_pylist()[2]) == {"empty_image": 2}


@pytest.mark.parametrize("units", [2, 60])
def test_opening_takes_two_requests_at_any_size(units: int) -> None:
    uri = f"counted://stores/{units}"
    writer = StoreWriter(uri)
    manifest = dataclasses.replace(MANIFEST, units=units)
    writer.begin(manifest, FILES)
    for number in range(units):
        writer.commit(unit(number), "digest", shard(number), rejected(0))
    with counted() as requests:
        assert len(EmbeddingStore.open(uri).commits) == units
    assert len(requests) > units  # nothing is folded yet
    writer.settle(units)
    with counted() as requests:
        assert len(EmbeddingStore.open(uri).commits) == units
    assert sorted(requests) == [f"get /stores/{units}/index.parquet", f"get /stores/{units}/manifest.json"]


def test_what_writers_have_told_is_not_read_again() -> None:
    writer = StoreWriter("counted://told")
    writer.begin(MANIFEST, FILES)
    records = [writer.commit(unit(number), "digest", shard(number), rejected(0)) for number in range(3)]
    with counted() as requests:
        writer.told(records)
        writer.settle(3)
    assert not [request for request in requests if "get /told/commits" in request]
    assert EmbeddingStore.open("counted://told").commits == sorted(records, key=lambda record: record.unit)


def test_later_units_are_read_on_top_of_the_index_and_folded_at_the_end(filled: Path) -> None:
    (record,) = (record for record in StoreWriter(str(filled)).records().values() if record.unit == unit(1).name)
    file = filled / "commits" / f"{record.unit}.json"
    text = file.read_text()
    file.unlink()
    StoreWriter(str(filled)).settle(4)  # too few to sweep
    file.write_text(text)
    assert len(CommitIndex.read(*_place(filled))) == 2
    assert len(EmbeddingStore.open(str(filled)).commits) == 3
    StoreWriter(str(filled)).settle(3)
    assert len(CommitIndex.read(*_place(filled))) == 3


def test_a_run_that_has_begun_is_looked_after_until_it_settles(settled: Path) -> None:
    before = CommitIndex.read(*_place(settled))
    writer = StoreWriter(str(settled))
    writer.begin(MANIFEST, FILES)
    old = writer.record(unit(2).name)
    writer.commit(unit(2), "digest", shard(2), rejected(0), old)  # and is killed here
    store = EmbeddingStore.open(str(settled))
    assert (len(store), store.rejected) == (30, {})
    StoreWriter(str(settled)).settle(3)
    after = CommitIndex.read(*_place(settled))
    assert (before.settled, after.settled) == (True, True)
    assert after.generation > before.generation
    assert EmbeddingStore.open(str(settled)).commits == store.commits


def test_a_finished_store_without_an_index_gets_one(settled: Path) -> None:
    (settled / INDEX_FILE).unlink()
    store = EmbeddingStore.open(str(settled))
    assert CommitIndex.read(*_place(settled)).records == {record.unit: record for record in store.commits}


def test_one_that_cannot_be_written_is_told_and_read(
    settled: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (settled / INDEX_FILE).unlink()

    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("isoenergy.store.commit_index.write_atomically", refused)
    with caplog.at_level(logging.WARNING):
        assert len(EmbeddingStore.open(str(settled)).commits) == 3
    assert "has no index and cannot be written (read-only)" in caplog.text
    with pytest.raises(InputError, match=r"cannot be written \(read-only\)"):
        StoreWriter(str(settled)).settle(3)


def test_a_store_that_is_being_filled_gets_none(tmp_path: Path) -> None:
    store = fill(tmp_path)
    EmbeddingStore.open(str(store))
    assert not (store / INDEX_FILE).exists()


@pytest.mark.parametrize("spoil", [lambda _: b"", lambda data: data[:-40], lambda _: b"PAR1 no index PAR1"])
def test_a_spoilt_index_is_none(settled: Path, spoil: Callable[[bytes], bytes]) -> None:
    commits = EmbeddingStore.open(str(settled)).commits
    (settled / INDEX_FILE).write_bytes(spoil((settled / INDEX_FILE).read_bytes()))
    assert EmbeddingStore.open(str(settled)).commits == commits
    assert CommitIndex.read(*_place(settled)).settled  # made anew


def test_verification_holds_the_index_against_the_records(settled: Path) -> None:
    file = settled / "commits" / f"{unit(1).name}.json"
    file.write_text(file.read_text().replace('"digest"', '"another"'))
    with pytest.raises(InputError, match=rf"index\.parquet is not what commits/{file.name} says"):
        inspect.run(InspectConfig(str(settled), verify=True))
    with pytest.raises(InputError, match="made anew of the commit records"):
        inspect.run(InspectConfig(str(settled), verify=True, repair=True))
    assert "verified     3 units" in inspect.run(InspectConfig(str(settled), verify=True))


def _place(folder: Path) -> tuple[AbstractFileSystem, str]:
    return open_filesystem(str(folder))
