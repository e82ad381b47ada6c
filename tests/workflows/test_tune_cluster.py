"""`isoenergy tune` on real Ray nodes, one of which is switched off."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.processes import without_ray_address
from tests.workflows.search_node_loss import NODE_LOSS
from tune.passes import SearchFolder

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster]


def test_a_search_outlives_a_node(tmp_path: Path) -> None:
    store = write_planted_store(tmp_path / "store", *planted_pairs(1500, 16), pairs_a_shard=500)
    command = [sys.executable, "-m", "tests.workflows.search_node_loss", str(store), str(tmp_path)]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    records = SearchFolder(str(tmp_path / "search")).passes()
    assert len(records) == NODE_LOSS.passes
    assert all(record.outcome is not None and record.outcome.status == "finished" for record in records)
    assert all([report.part for report in record.reports] == list(range(1, 10)) for record in records)
