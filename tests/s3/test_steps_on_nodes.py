"""Steps on several real Ray nodes that share nothing but a bucket."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.s3.seaweedfs import S3Server
from tests.s3.steps_on_nodes import NODES, PARTS, total
from tests.workflows.processes import without_ray_address
from workflows.steps import step_plan

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.cluster, pytest.mark.server]


def test_nodes_that_share_no_folder_make_one_result_and_keep_nothing(s3: S3Server, tmp_path: Path) -> None:
    root = f"s3://{s3.bucket()}/steps"
    command = [sys.executable, "-m", "tests.s3.steps_on_nodes", root, str(tmp_path)]
    done = subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    copies = [Path(place).relative_to(tmp_path) for place in json.loads(done.stdout.splitlines()[-1])]
    assert len(copies) == PARTS
    assert {place.parts[0] for place in copies} == {f"node-{number}" for number in range(NODES)}
    assert len(set(copies)) == NODES
    assert step_plan.result(total(), root) == {"sum": 100 + sum(100 + n for n in range(PARTS))}
    assert [path for path in tmp_path.rglob("*") if "isoenergy-steps" in path.name] == []
