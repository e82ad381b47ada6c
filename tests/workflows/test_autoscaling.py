"""cluster.yaml's node types under Ray's own autoscaler: they come for a sweep, spot first, and go after it."""

import pytest

from tests.workflows.autoscaled_sweep import TRIALS, AutoscaledSweep, autoscaled_sweep
from tests.workflows.fake_cluster import CLUSTER

pytestmark = [pytest.mark.ray, pytest.mark.cluster]

TYPES = CLUSTER["available_node_types"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> AutoscaledSweep:
    return autoscaled_sweep(tmp_path_factory.mktemp("autoscaling"))


def test_the_cluster_grows_until_all_trials_are_at_work_and_every_trial_ends(sweep: AutoscaledSweep) -> None:
    assert sweep.samples[0].nodes == {}
    assert max(sample.pending for sample in sweep.samples) > 0
    most = max(sweep.samples, key=lambda sample: sample.in_use["GPU"])
    assert most.in_use["GPU"] == TRIALS * sweep.gpus
    assert sum(TYPES[name]["resources"]["GPU"] * count for name, count in most.nodes.items()) >= most.in_use["GPU"]
    assert sweep.ended == [*range(TRIALS)]


def test_spot_nodes_come_first_and_no_type_outgrows_what_the_cluster_allows(sweep: AutoscaledSweep) -> None:
    grown = [sample.nodes for sample in sweep.samples if sample.nodes]
    assert {*grown[0]} == {"gpu_spot"}
    for nodes in grown:
        assert all(count <= TYPES[name]["max_workers"] for name, count in nodes.items()), nodes
        assert all("GPU" in TYPES[name]["resources"] for name in nodes), nodes


def test_no_worker_is_left_when_nothing_runs(sweep: AutoscaledSweep) -> None:
    last = sweep.samples[-1]
    assert (last.nodes, last.pending, last.in_use) == ({}, 0, {"CPU": 0, "GPU": 0})
