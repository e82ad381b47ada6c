"""`isoenergy embed` in this process: plan, units, duplicates, rejections, retries, summary and commits, without Ray."""

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from isoenergy.errors import InputError
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.source import PairUnit, RawPairs
from isoenergy.store import EmbeddingStore
from isoenergy.store import writer as store_writer
from tests.pairs.made_up_pairs import RowsWriter, bad_rows
from tests.workflows.embedding_stores import SMALL_ENCODER, keys, keys_of, times
from workflows import embed
from workflows.cluster.lock import alone_in
from workflows.embed import EmbedConfig
from workflows.extraction.extraction_engines import Here


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*_: object, **__: object) -> None:
        raise AssertionError("Ray was asked for something")

    for name in ("init", "remote", "get", "put", "nodes", "get_runtime_context"):
        monkeypatch.setattr(ray, name, used)


@pytest.fixture
def pairs(tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict]) -> Path:
    """A file of 120 pairs: three units."""
    return write_rows(bundled_rows[:120], tmp_path / "pairs" / "m.parquet")


def here(settings: dict, **changed: Any) -> list[EmbeddingStore]:
    return embed.run(EmbedConfig(**settings | changed), engine=Here())


def commits(settings: dict) -> list[Path]:
    return sorted(Path(settings["output"], "commits").glob("*.json"))


def before_writing(monkeypatch: pytest.MonkeyPatch, happens: Callable[[str], None]) -> None:
    """Have something happen before each file of a store is written; it is told the path."""
    write = store_writer.write_atomically

    def write_unless(filesystem: Any, path: str, data: bytes) -> None:
        happens(path)
        write(filesystem, path, data)

    monkeypatch.setattr(store_writer, "write_atomically", write_unless)


def test_each_bad_pair_is_rejected_with_its_reason_and_the_summary_adds_up(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    bad = bad_rows()
    write_rows([*bundled_rows[:20], *bad.values(), *bundled_rows[20:40]], tmp_path / "pairs" / "a.parquet")
    (store,) = here(settings, rows_per_unit=16, batch_rows=6)
    expected = dict.fromkeys((reason for reason in bad if reason != "good"), 1)
    rejected = pq.read_table(tmp_path / "store" / "rejected").to_pylist()
    assert {row["reason"]: row["row"] for row in rejected if row["reason"] in expected} == {
        reason: 20 + place for place, reason in enumerate(bad) if reason != "good"
    }
    assert keys(store) == sorted(["good", *keys_of(bundled_rows[:40])])
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert summary["rows_in"] == summary["run"]["pairs"] == len(bad) + 40
    assert (summary["embedded"], summary["rejected"]) == (len(store), store.rejected)
    assert min(summary["run"]["work_seconds"].values()) > 0


@pytest.mark.usefixtures("pairs")
def test_several_encoders_in_one_pass_make_the_stores_of_a_pass_each(tmp_path: Path, settings: dict) -> None:
    both = here(settings, encoder=f"{settings['encoder']},{SMALL_ENCODER}", output=str(tmp_path / "both"))
    alone = [
        *here(settings),
        *here(settings, encoder=SMALL_ENCODER, output=str(tmp_path / "small")),
    ]
    assert [store.manifest.dim for store in both] == [24, 12]
    assert [store.fingerprint for store in both] == [store.fingerprint for store in alone]


@pytest.mark.usefixtures("pairs")
def test_new_files_are_added_and_the_first_of_a_key_stays(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    here(settings)
    before = times(settings["output"])
    write_rows([*bundled_rows[115:130], bundled_rows[129]], tmp_path / "pairs" / "a.parquet")
    (store,) = here(settings)
    assert before.items() <= times(settings["output"]).items()
    assert keys(store) == keys_of(bundled_rows[:130])
    assert store.rejected == {"duplicate_key": 6}


@pytest.mark.usefixtures("pairs")
def test_a_second_run_does_nothing(settings: dict) -> None:
    here(settings)
    before = times(settings["output"])
    here(settings)
    assert times(settings["output"]) == before


@pytest.mark.usefixtures("pairs")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": SMALL_ENCODER}, "encoder_digest is"),
        ({"batch_rows": 21}, "batch_rows is 20 there and 21 here"),
        ({"dtype": "float32"}, 'dtype is "float16" there and "float32" here'),
    ],
)
def test_a_store_made_otherwise_is_not_mixed(change: dict, named: str, settings: dict) -> None:
    here(settings)
    before = times(settings["output"])
    with pytest.raises(InputError, match=named):
        here(settings, **change)
    assert times(settings["output"]) == before


def test_a_file_written_again_is_not_mixed_with_what_it_was(
    pairs: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    here(settings)
    write_rows(bundled_rows[:121], pairs)
    before = times(settings["output"])
    with pytest.raises(InputError, match=r"took them in, 1 file of .* changed, such as m\.parquet; give another"):
        here(settings)
    assert times(settings["output"]) == before


def test_a_spoilt_file_is_rejected_and_once_mended_taken_in(
    pairs: Path, tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    whole = write_rows(bundled_rows[110:150], tmp_path / "whole" / "n.parquet").read_bytes()
    (pairs.parent / "n.parquet").write_bytes(whole[: len(whole) // 2])
    (store,) = here(settings)
    assert store.rejected == {"unreadable_file": 1}
    (pairs.parent / "n.parquet").write_bytes(whole)
    with pytest.raises(InputError, match="--retry-rejected embeds them again"):
        here(settings)
    kept = {path: time for path, time in times(settings["output"]).items() if path.name.startswith("m")}
    (store,) = here(settings, retry_rejected=True)
    assert keys(store) == keys_of(bundled_rows[:150])
    assert store.rejected == {"duplicate_key": 10}
    assert kept.items() <= times(settings["output"]).items()


class Killed(BaseException):
    """What no part of the program catches, as a kill."""


def test_a_run_that_ends_between_data_and_commit_goes_on_with_that_unit(
    pairs: Path, bundled_rows: list[dict], settings: dict
) -> None:
    del pairs
    with pytest.MonkeyPatch.context() as patch:

        def end_at_the_second(path: str) -> None:
            if "/commits/" in path and len(commits(settings)) == 1:
                raise Killed

        before_writing(patch, end_at_the_second)
        with pytest.raises(Killed):
            here(settings)
    (done,) = commits(settings)
    shards = list(Path(settings["output"], "shards").iterdir())
    assert len(shards) > 1, "nothing had been written when the run ended"
    assert len(EmbeddingStore.open(settings["output"])) == json.loads(done.read_text())["embedded"]
    before = done.stat().st_mtime_ns
    (store,) = here(settings)
    assert done.stat().st_mtime_ns == before
    assert keys(store) == keys_of(bundled_rows[:120])
    assert json.loads(Path(settings["output"], "summary.json").read_text())["run"]["pairs"] < 120


@pytest.mark.usefixtures("pairs")
def test_a_run_that_ends_before_its_summary_gets_one_by_the_next(settings: dict) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def end_at_the_summary(path: str) -> None:
            if path.endswith("summary.json"):
                raise Killed

        before_writing(patch, end_at_the_summary)
        with pytest.raises(Killed):
            here(settings)
    (store,) = here(settings)
    assert json.loads(Path(settings["output"], "summary.json").read_text())["rows_in"] == len(store) == 120


def test_a_unit_that_cannot_be_read_costs_itself_and_is_told(
    pairs: Path, bundled_rows: list[dict], settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    del pairs
    read, tries = ParquetPairs.read, []

    def fail(self: ParquetPairs, unit: PairUnit, *options: Any) -> Iterator[RawPairs]:
        if unit.start == 50:
            tries.append(unit)
            raise OSError("the server has gone")
        return read(self, unit, *options)

    with monkeypatch.context() as patch:
        patch.setattr(ParquetPairs, "read", fail)
        with pytest.raises(InputError, match=r"1 of 3 units could not .* m\.parquet cannot be read .*server has gone"):
            here(settings)
    assert len(tries) == 3  # the round that commits the others, and two that commit nothing
    assert keys(EmbeddingStore.open(settings["output"])) == keys_of(bundled_rows[:50] + bundled_rows[100:120])
    (store,) = here(settings)
    assert keys(store) == keys_of(bundled_rows[:120])


def test_a_unit_that_fails_once_is_done_in_the_next_round(
    pairs: Path, bundled_rows: list[dict], settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    del pairs
    read, failed = ParquetPairs.read, []

    def fail_once(self: ParquetPairs, unit: PairUnit, *options: Any) -> Iterator[RawPairs]:
        if not failed:
            failed.append(unit)
            raise OSError("not now")
        return read(self, unit, *options)

    monkeypatch.setattr(ParquetPairs, "read", fail_once)
    (store,) = here(settings)
    assert failed
    assert keys(store) == keys_of(bundled_rows[:120])
    assert json.loads(Path(settings["output"], "summary.json").read_text())["run"]["pairs"] == 120


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    pairs: Path, bundled_rows: list[dict], settings: dict
) -> None:
    del pairs
    with pytest.MonkeyPatch.context() as patch:

        def be_full(path: str) -> None:
            if "/shards/" in path and commits(settings):
                raise OSError(errno.ENOSPC, "No space left on device", path)

        before_writing(patch, be_full)
        with pytest.raises(InputError, match=r"cannot be written: .*No space left on device.* run the same command"):
            here(settings)
    assert 0 < len(commits(settings)) < 3
    (store,) = here(settings)
    assert keys(store) == keys_of(bundled_rows[:120])


@pytest.mark.usefixtures("pairs")
def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    tmp_path: Path, settings: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here(settings, dry_run=True) == []
    plan = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "120 (exact)" in plan["pairs"]
    assert "3, 3 of them to be done" in plan["units"]
    assert "1 encoder actor on CPU" in plan["resources"]
    assert "probe" in plan
    assert "about 120 pairs" in plan["expected"]
    assert not (tmp_path / "store").exists()


def test_an_output_that_cannot_be_made_is_told() -> None:
    with pytest.raises(InputError, match=r"/proc/store cannot be written"), alone_in("/proc/store"):
        pass


def test_a_second_run_into_a_store_is_refused_and_leaves_it_as_it_is(pairs: Path, settings: dict) -> None:
    del pairs
    (store,) = here(settings)
    before = times(settings["output"])
    with alone_in(settings["output"]), pytest.raises(InputError, match="another run is at work"):
        here(settings)
    assert times(settings["output"]) == before
    (again,) = here(settings)
    assert again.fingerprint == store.fingerprint
