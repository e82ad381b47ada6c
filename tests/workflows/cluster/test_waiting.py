"""A stage whose work finds no room says so, gives up when its patience is over, and goes on another time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.pairs.made_up_pairs import RowsWriter
from tests.workflows.cluster.full_cluster import MINUTES, run_embed, run_steps, run_train, run_tune

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def check(stage: Callable[..., None], what: str, *arguments: Path) -> None:
    """Run a stage on a cluster that is full, and again when it is free."""
    name = stage.__name__.removeprefix("run_")
    given = [str(argument) for argument in arguments]
    command = [sys.executable, "-m", "tests.workflows.cluster.full_cluster", name, *given]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert f": waiting for {what}, " in ended.stderr
    assert f": there was no room for {what} for {MINUTES} minutes; wait until the cluster has room" in ended.stderr
    assert "Traceback" not in ended.stderr
    stage(*given, 30.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_store(tmp_path_factory.mktemp("store"), *planted_pairs(1500, 24), pairs_a_shard=500)


def test_steps(tmp_path: Path) -> None:
    check(run_steps, "{CPU: 1} (none of 1 steps that could run does)", tmp_path)


def test_embedding(tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict]) -> None:
    write_rows(bundled_rows[:60], tmp_path / "pairs" / "a.parquet")
    check(run_embed, "1 × {CPU: 0.95}, which encoders take", tmp_path)


def test_training(store: Path, tmp_path: Path) -> None:
    check(run_train, "2 × {CPU: 1} (0 of 2 workers are there)", store, tmp_path)


def test_a_search(store: Path, tmp_path: Path) -> None:
    check(run_tune, "2 × {CPU: 1} (no pass is at work)", store, tmp_path)
