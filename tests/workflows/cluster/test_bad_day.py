"""A short bad day: embed, train, tune and evaluate on nodes, S3 and an MLflow server that are killed, away and full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.processes import without_ray_address

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster, pytest.mark.server]


@pytest.mark.skipif(os.geteuid() != 0, reason="the disk that is filled is mounted, which takes root")
def test_nothing_comes_of_a_bad_day(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bad_day", "--minutes", "3", "--output", f"{tmp_path}/day.json"]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
