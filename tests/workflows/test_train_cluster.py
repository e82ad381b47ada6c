"""`isoenergy train` on real Ray nodes, one of which is switched off: an elastic run goes on with what is left."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from tests.conftest import RowsWriter
from tests.workflows.training_node_loss import TRAINING
from workflows import embed, train
from workflows.embed import EmbedConfig
from workflows.train import TrainConfig

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.usefixtures("on_ray")]


def test_an_elastic_run_outlives_a_node(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], other_encoder: Path
) -> None:
    write_rows(bundled_rows[:300], tmp_path / "pairs.parquet")
    store = str(tmp_path / "store")
    embed.run(EmbedConfig(pairs=str(tmp_path / "pairs.parquet"), output=store, encoder=f"open_clip:{other_encoder}"))
    command = [sys.executable, "-m", "tests.workflows.training_node_loss", store, str(tmp_path / "killed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    train.run(TrainConfig(store=store, output=str(tmp_path / "whole"), training=TRAINING))
    saes = [SparseAutoencoder.load(tmp_path / name / "beta-0.001").dictionary for name in ("killed", "whole")]
    torch.testing.assert_close(*saes, atol=1e-3, rtol=0)
