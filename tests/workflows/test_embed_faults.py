"""`isoenergy embed` on Ray when its processes, its files or its disk go: every pair once, and what is lost is told."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore
from tests.pairs.made_up_pairs import RowsWriter
from tests.workflows.deadly import DeadlyPairs
from tests.workflows.embedding_stores import keys, keys_of
from tests.workflows.killed_workers import kill_a_worker_once
from tests.workflows.processes import files_in, run_until
from tests.workflows.waiting_pairs import WaitingPairs
from workflows import embed
from workflows.embed import EmbedConfig
from workflows.extraction import extraction_graph

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def options(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_a_killed_run_goes_on_where_it_was(
    four_files: Path, undisturbed: EmbeddingStore, tmp_path: Path, settings: dict
) -> None:
    settings |= {"pairs": str(four_files)}
    commits = tmp_path / "store" / "commits"
    run_until(["embed", *options(settings)], lambda: len(files_in(commits, "*.json")) >= 2)
    done = {path: path.stat().st_mtime_ns for path in files_in(commits, "*.json")}
    assert len(done) < 24

    (store,) = embed.run(EmbedConfig(**settings))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(files_in(commits, "*.json")) == 24
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert summary["run"]["pairs"] == 50 * (24 - len(done))
    assert keys(store) == keys(undisturbed)
    assert store.fingerprint == undisturbed.fingerprint


def test_a_killed_encoder_is_replaced_and_no_pair_is_lost(
    four_files: Path,
    undisturbed: EmbeddingStore,
    tmp_path: Path,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits, killed = tmp_path / "store" / "commits", tmp_path / "killed"
    monkeypatch.setattr(embed, "open_source", lambda *_: WaitingPairs(str(four_files), "3.parquet", killed))
    kill_a_worker_once(lambda: len(files_in(commits, "*.json")) >= 3, "Encode", killed)
    (store,) = embed.run(EmbedConfig(**settings | {"pairs": str(four_files)}))
    assert killed.exists()
    assert keys(store) == keys_of(bundled_rows[:1200])
    assert json.loads((tmp_path / "store" / "summary.json").read_text())["run"]["pairs"] == 1200
    assert store.fingerprint == undisturbed.fingerprint


def test_an_image_that_ends_its_process_costs_its_unit_alone_and_is_told(
    tmp_path: Path,
    write_rows: RowsWriter,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place, name in enumerate("abc"):
        write_rows(bundled_rows[place * 100 :][:100], tmp_path / "pairs" / f"{name}.parquet")
    source = DeadlyPairs(settings["pairs"], "b.parquet", row=30)
    with monkeypatch.context() as patch:
        patch.setattr(embed, "open_source", lambda *_: source)
        patch.setattr(extraction_graph, "TIMES_TRIED", 2)
        told = r"^1 of 6 units could not .*b-\w+-0+: its process ended .* leave .* pairs 0 to 49 of b\.parquet, or the"
        with pytest.raises(InputError, match=told):
            embed.run(EmbedConfig(**settings))
    assert keys(EmbeddingStore.open(settings["output"])) == keys_of(bundled_rows[:100] + bundled_rows[150:300])


def test_a_file_that_disappears_costs_itself_alone(
    tmp_path: Path,
    write_rows: RowsWriter,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_rows(bundled_rows[:60], tmp_path / "pairs" / "a.parquet")
    gone = write_rows(bundled_rows[60:90], tmp_path / "pairs" / "b.parquet")
    prepare = embed.duplicate_rows

    def remove_then_go_on(*arguments: object) -> dict:
        found = prepare(*arguments)
        gone.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(embed, "duplicate_rows", remove_then_go_on)
        with pytest.raises(InputError, match=r"1 of 3 units could not .* b\.parquet cannot"):
            embed.run(EmbedConfig(**settings))
    assert len(files_in(tmp_path / "store" / "commits")) == 2
    write_rows(bundled_rows[60:90], gone)
    (store,) = embed.run(EmbedConfig(**settings))
    assert keys(store) == keys_of(bundled_rows[:90])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    small_disk: Path, tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:1600], tmp_path / "pairs" / "a.parquet")
    config = EmbedConfig(**settings | {"output": str(small_disk / "store")})
    with pytest.raises(InputError, match=r"cannot be written: .*No space left on device.* run the same command again"):
        embed.run(config)
    done = files_in(small_disk / "store" / "commits", "*.json")
    assert 0 < len(done) < 32
    assert len(EmbeddingStore.open(config.output)) == 50 * len(done)
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    (store,) = embed.run(config)
    assert keys(store) == keys_of(bundled_rows[:1600])
    assert not [path for path in (small_disk / "store").rglob("*") if path.name.endswith(".tmp")]
