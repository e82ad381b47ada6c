"""The arena's trainings on real Ray nodes: one joins, and one is switched off."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.arena_node_loss import trainings
from tests.workflows.processes import without_ray_address
from workflows.steps import step_plan

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster]


def test_trainings_use_a_node_that_joins_and_outlive_one_that_is_lost(tmp_path: Path) -> None:
    """Each node holds one of three, one of them a node that joined: one is lost and begun anew elsewhere."""
    command = [sys.executable, "-m", "tests.workflows.arena_node_loss", str(tmp_path)]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    _, steps = trainings(tmp_path)
    assert [item.step.name for item in step_plan.plan(steps, tmp_path / "steps") if item.due] == []
    assert not (tmp_path / "steps/.ray").exists()
