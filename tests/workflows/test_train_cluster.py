"""`isoenergy train` on real Ray nodes, one of which is switched off: an elastic run goes on with what is left."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.processes import without_ray_address
from tests.workflows.training_node_loss import TRAINING
from workflows import train
from workflows.train import TrainConfig

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster, pytest.mark.usefixtures("on_ray")]


def test_an_elastic_run_outlives_a_node(tmp_path: Path) -> None:
    store = str(write_planted_store(tmp_path / "store", *planted_pairs(300, 24)))
    command = [sys.executable, "-m", "tests.workflows.training_node_loss", store, str(tmp_path / "killed")]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    train.run(TrainConfig(store=store, output=str(tmp_path / "whole"), training=TRAINING))
    saes = [SparseAutoencoder.load(tmp_path / name / "beta-0.001").dictionary for name in ("killed", "whole")]
    torch.testing.assert_close(*saes, atol=1e-3, rtol=0)
