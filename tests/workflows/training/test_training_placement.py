import pytest

from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize, Resources
from workflows.training.training_placement import AUTOMATIC, TrainingPlacement, Workers

Nodes = list[tuple[Resources, int]]

GPU_NODE: Resources = {"CPU": 32, "GPU": 4}
CPU_NODE: Resources = {"CPU": 8}
HEAD: Resources = {"CPU": 0}


def fit(monkeypatch: pytest.MonkeyPatch, workers: Workers, now: Nodes, later: Nodes | None = None) -> TrainingPlacement:
    monkeypatch.setattr(ClusterSize, "of_this_one", classmethod(lambda cls: cls(now, later or [])))
    return TrainingPlacement.fit(workers)


def test_a_worker_takes_a_gpu_and_its_share_of_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = fit(monkeypatch, AUTOMATIC, [(HEAD, 1), (GPU_NODE, 2)])
    assert (placement.num_workers, placement.resources) == (8, {"CPU": 8, "GPU": 1})


def test_without_gpus_a_worker_takes_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    placement = fit(monkeypatch, AUTOMATIC, [(HEAD, 1), (CPU_NODE, 3)])
    assert (placement.num_workers, placement.resources) == (3, {"CPU": 8})
    assert fit(monkeypatch, Workers(5, 5), [(CPU_NODE, 3)]).resources == {"CPU": 4}
    assert fit(monkeypatch, Workers(24, 24), [(CPU_NODE, 3)]).resources == {"CPU": 1}


def test_a_cluster_counts_as_large_as_it_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    full: Nodes = [(HEAD, 1), (GPU_NODE, 16)]
    assert fit(monkeypatch, AUTOMATIC, [(HEAD, 1)], full).num_workers == 64
    assert fit(monkeypatch, Workers(2, 64), [(HEAD, 1), (GPU_NODE, 1)], full).num_workers == (2, 64)
    assert fit(monkeypatch, AUTOMATIC, [(HEAD, 1), (GPU_NODE, 1)], full).num_workers == 4


def test_more_workers_than_places_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="25 workers need as many CPUs, and the cluster has 24; give --workers 24"):
        fit(monkeypatch, Workers(25, 25), [(CPU_NODE, 3)])
    with pytest.raises(InputError, match=r"65 workers need as many GPUs, .* has 64 at its largest"):
        fit(monkeypatch, Workers(65, 65), [(HEAD, 1)], [(GPU_NODE, 16)])


@pytest.mark.parametrize("text", ["0", "-1", "2,1", "two", "1,2,3", ""])
def test_workers_that_make_no_sense(text: str) -> None:
    with pytest.raises(InputError, match="workers must be N, FEWEST,MOST or auto"):
        Workers.parse(text)
    assert str(Workers.parse("1,4")) == "1,4"
    assert Workers.parse("auto") == AUTOMATIC
