import pytest

from isoenergy.errors import InputError
from tests.workflows.steps.number_steps import Number, read
from workflows.cluster.cluster_size import ClusterSize
from workflows.steps.step import Step
from workflows.steps.step_placement import place

SMALL = {"CPU": 16.0, "memory": 8.0 * 2**30}
BIG = {"CPU": 4.0, "memory": 64.0 * 2**30}
GPU = {"CPU": 2.0, "GPU": 1.0, "memory": 16.0 * 2**30}


def options(*nodes: dict[str, float], later: tuple[dict[str, float], ...] = (), **asked: float) -> dict[str, float]:
    step = Step("sae-1/codes", read, Number(0), **asked)  # type: ignore[arg-type]
    size = ClusterSize([(node, 1) for node in nodes], [(node, 3) for node in later])
    return place([step], size)["sae-1/codes"]


def test_a_step_asks_for_what_it_says() -> None:
    assert options(SMALL, cpus=4, memory=2**30) == {"num_cpus": 4, "num_gpus": 0, "memory": 2**30}
    assert options(SMALL, cpus=0.5) == {"num_cpus": 0.5, "num_gpus": 0}


def test_cpus_are_a_wish_of_a_node_that_can_hold_the_rest() -> None:
    assert options(SMALL, BIG, cpus=64)["num_cpus"] == 16
    assert options(SMALL, BIG, cpus=64, memory=32 * 2**30)["num_cpus"] == 4
    assert options(SMALL, BIG, GPU, cpus=64, gpus=1)["num_cpus"] == 2
    assert options({"CPU": 0.0, "memory": 1.0}, cpus=1)["num_cpus"] == 0


def test_gpus_if_any_are_a_wish_too() -> None:
    assert options(SMALL, BIG, gpus_if_any=1)["num_gpus"] == 0
    assert options(SMALL, GPU, cpus=16, gpus_if_any=1) == {"num_cpus": 2, "num_gpus": 1}
    assert options(SMALL, BIG, GPU, gpus_if_any=1, memory=32 * 2**30)["num_gpus"] == 0
    assert options(SMALL, GPU, gpus_if_any=2)["num_gpus"] == 0


def test_what_no_node_can_hold_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError) as error:
        options(SMALL, BIG, memory=65 * 2**30)
    assert "step sae-1/codes asks for 0 GPUs and 65.00 GiB of memory" in str(error.value)
    assert "the largest node has 0 GPUs and 64.00 GiB of memory" in str(error.value)
    with pytest.raises(InputError, match=r"asks for 1 GPU and 32.00 GiB .* has 1 GPU and 16.00 GiB"):
        options(SMALL, BIG, GPU, gpus=1, memory=32 * 2**30)
    with pytest.raises(InputError, match="asks for 2 GPUs"):
        options(GPU, GPU, gpus=2)


def test_a_cluster_counts_as_large_as_it_may_grow() -> None:
    assert options({"CPU": 0.0, "memory": 1.0}, later=(GPU,), cpus=8, gpus=1) == {"num_cpus": 2, "num_gpus": 1}


def test_every_step_of_a_map_is_placed() -> None:
    steps = [Step(f"codes/{n:05d}", read, Number(n), cpus=1 + n % 2) for n in range(7)]
    placed = place(steps, ClusterSize([(SMALL, 1)], []))
    assert [placed[step.name]["num_cpus"] for step in steps] == [1, 2, 1, 2, 1, 2, 1]
