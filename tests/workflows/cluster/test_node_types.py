import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
from ray.experimental.internal_kv import _internal_kv_del

from workflows.cluster.cluster_size import ClusterSize
from workflows.extraction.extraction_placement import Placement
from workflows.node_types import node_groups
from workflows.training.training_placement import AUTOMATIC, TrainingPlacement

CONFIG = {
    "head_node_type": "head",
    "max_workers": 6,
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 1, "memory": 47244640256}, "min_workers": 0, "max_workers": 4},
        "cpu": {"resources": {"CPU": 32}, "max_workers": 9},
        "any": {"resources": {"CPU": 2}},
    },
}


@pytest.fixture
def told(on_ray: None, tmp_path: Path) -> Iterator[subprocess.CompletedProcess]:  # noqa: ARG001
    """What the command says that tells this session's Ray what it may grow to; forgotten afterwards."""
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps(CONFIG))
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "workflows.node_types", str(file)]
    yield subprocess.run(command, capture_output=True, text=True, env=environment)
    _internal_kv_del(GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, namespace=GCS_AUTOSCALER_STATE_NAMESPACE)


@pytest.mark.ray
@pytest.mark.slow
def test_stages_plan_for_what_a_cluster_was_told_it_may_grow_to(told: subprocess.CompletedProcess) -> None:
    assert (told.returncode, told.stdout) == (0, "gpu: at most 4, cpu: at most 6, any: at most 6\n"), told.stderr
    assert ClusterSize.of_this_one().later == [
        ({"CPU": 16, "GPU": 1, "memory": 47244640256}, 4),
        ({"CPU": 32}, 6),
        ({"CPU": 2}, 6),
    ]
    assert Placement.fit(None, 1.0).actors == (1, 4)
    assert TrainingPlacement.fit(AUTOMATIC).resources == {"CPU": 16, "GPU": 1}


def test_the_head_is_no_worker_and_no_kind_outgrows_the_cluster() -> None:
    assert [(group["name"], group["min_count"], group["max_count"]) for group in node_groups(CONFIG)] == [
        ("gpu", 0, 4),
        ("cpu", 0, 6),
        ("any", 0, 6),
    ]
