"""`isoenergy embed` on real Ray nodes, one of which is switched off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from isoenergy.store import EmbeddingStore
from tests.workflows.embedding_stores import keys, keys_of
from tests.workflows.processes import without_ray_address

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster]


def test_a_node_that_is_lost_costs_no_pair(
    four_files: Path, undisturbed: EmbeddingStore, tmp_path: Path, bundled_rows: list[dict]
) -> None:
    command = [sys.executable, "-m", "tests.workflows.node_loss", four_files, tmp_path / "store"]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    store = EmbeddingStore.open(str(tmp_path / "store"))
    assert keys(store) == keys_of(bundled_rows[:1200])
    assert json.loads((tmp_path / "store" / "summary.json").read_text())["run"]["pairs"] == 1200
    assert store.fingerprint == undisturbed.fingerprint
