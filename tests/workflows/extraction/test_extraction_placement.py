"""What a run of `isoenergy embed` takes of a cluster that grows."""

import pytest

from isoenergy.errors import InputError
from workflows.cluster import ray_internals
from workflows.cluster.cluster_size import ClusterSize
from workflows.extraction.extraction_placement import Placement

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def test_a_cluster_counts_as_large_as_it_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = [({"CPU": 8, "GPU": 1}, 8), ({"CPU": 32}, 0)]
    monkeypatch.setattr(ray_internals, "growth", lambda: growth)
    assert Placement.fit(None, 1.0).actors == (1, 8)
    placement = Placement.fit((2, 12), 0.5)
    assert (placement.actors, placement.gpus_per_actor, placement.cpus) == ((2, 12), 0.5, 64)
    with pytest.raises(InputError, match=r"at least 17 encoders of 0\.5 GPU, and there is room for 16"):
        Placement.fit((17, 20), 0.5)
    with pytest.raises(InputError, match=r"of 2 GPU, and there is room for 0"):
        Placement.fit(None, 2.0)
    growth[0] = {"CPU": 8, "GPU": 1}, -1
    assert Placement.fit(None, 1.0).actors == (1, 1000)
    growth[0] = {"CPU": 8}, -1
    assert Placement.fit((4, 8), 1.0).gpus_per_actor == 0


def test_nodes_of_one_cpu_keep_one_for_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    size = ClusterSize([({"CPU": 1.0}, 1)] * 3, [])
    monkeypatch.setattr(ClusterSize, "of_this_one", classmethod(lambda _: size))
    assert Placement.fit(None, 1.0).actors == (1, 2)
