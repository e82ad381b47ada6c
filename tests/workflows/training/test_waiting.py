"""A training whose workers find no room says so, gives up when its patience is over, and goes on another time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.training.standing_training import TRAINING, config_of
from workflows import train

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def test_what_is_waited_for_is_said_and_given_up_when_patience_is_over(tmp_path: Path) -> None:
    store = write_planted_store(tmp_path / "store", *planted_pairs(300, 24), pairs_a_shard=100)
    command = [sys.executable, "-m", "tests.workflows.training.full_cluster", str(store), str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "train: waiting for " in ended.stderr
    assert " × {CPU: " in ended.stderr
    assert "was not free for 0.3 minutes; wait until the cluster has room" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(train.run(config_of(str(store), str(tmp_path / "out")))) == len(TRAINING.names)
