"""cluster.yaml's node types under Ray's own autoscaler: they come for a search, spot first, and go after it."""

import pytest
from PIL import Image

from tests.workflows.cluster.autoscaled_sweep import CPUS_A_TRIAL, TRIALS, AutoscaledSweep, autoscaled_sweep
from tests.workflows.cluster.fake_cluster import CLUSTER

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster]

COLOURS = 50
"""Fewer are on a picture without lines."""
TYPES = CLUSTER["available_node_types"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> AutoscaledSweep:
    return autoscaled_sweep(tmp_path_factory.mktemp("autoscaling"))


def test_the_cluster_grows_for_the_trials_that_wait_and_every_trial_ends(sweep: AutoscaledSweep) -> None:
    assert sweep.samples[0].nodes == {}
    assert max(sample.pending for sample in sweep.samples) > 0
    for sample in sweep.samples:
        room = sum(TYPES[name]["resources"]["CPU"] * count for name, count in sample.nodes.items())
        assert sample.in_use["CPU"] <= room
    assert max(sample.in_use["CPU"] for sample in sweep.samples) >= CPUS_A_TRIAL
    assert max(sum(sample.nodes.values()) for sample in sweep.samples) >= 2
    assert sweep.statuses == ["finished"] * TRIALS
    with Image.open(sweep.picture) as picture:
        assert len(picture.convert("RGB").getcolors(2**20)) > COLOURS


def test_spot_nodes_come_first_and_no_type_outgrows_what_the_cluster_allows(sweep: AutoscaledSweep) -> None:
    grown = [sample.nodes for sample in sweep.samples if sample.nodes]
    assert {*grown[0]} == {"cpu_spot"}
    for nodes in grown:
        assert all(count <= TYPES[name]["max_workers"] for name, count in nodes.items()), nodes


def test_no_worker_is_left_when_nothing_runs(sweep: AutoscaledSweep) -> None:
    last = sweep.samples[-1]
    assert (last.nodes, last.pending, last.in_use) == ({}, 0, {"CPU": 0, "GPU": 0})
