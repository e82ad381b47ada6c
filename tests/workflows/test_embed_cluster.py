"""`isoenergy embed` on real Ray nodes, one of which is switched off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from isoenergy.store import EmbeddingStore
from tests.conftest import RowsWriter
from workflows import embed
from workflows.embed import EmbedConfig

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.usefixtures("on_ray")]


def test_a_node_that_is_lost_costs_no_pair(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], other_encoder: Path
) -> None:
    for shard in range(4):
        write_rows(bundled_rows[shard * 400 :][:400], tmp_path / "pairs" / f"{shard}.parquet")
    encoder = f"open_clip:{other_encoder}"
    command = [sys.executable, "-m", "tests.workflows.node_loss", tmp_path / "pairs", tmp_path / "store", encoder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    store = EmbeddingStore.open(str(tmp_path / "store"))
    assert sorted(store.to_arrays().keys.tolist()) == sorted(row["key"] for row in bundled_rows[:1600])
    assert json.loads((tmp_path / "store" / "summary.json").read_text())["run"]["pairs"] == 1600
    (whole,) = embed.run(
        EmbedConfig(
            pairs=str(tmp_path / "pairs"),
            output=str(tmp_path / "whole"),
            encoder=encoder,
            rows_per_unit=50,
            batch_rows=20,
        )
    )
    assert store.fingerprint == whole.fingerprint
