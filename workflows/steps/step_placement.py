"""What a step asks of Ray, and whether any node can ever give it: a task that none can hold would wait for ever."""

from collections.abc import Sequence
from typing import Any

from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize, Resources
from workflows.steps.step import Step


def place(steps: Sequence[Step], size: ClusterSize) -> dict[str, dict[str, Any]]:
    """Return the options of each step's task by the step's name.

    CPUs are a wish: a step gets what it asks for, or as many as the node has that could hold it. So are GPUs that it
    asks for if there are any. GPUs and memory are what it needs. A cluster that autoscales counts as large as it may
    grow.

    Raises InputError if no node has a step's GPUs and memory.
    """
    nodes = [resources for way in size.ways for resources, _ in way]
    shapes: dict[tuple[float, ...], dict[str, Any]] = {}
    for step in steps:
        if _shape(step) not in shapes:
            shapes[_shape(step)] = _options(step, nodes)
    return {step.name: shapes[_shape(step)] for step in steps}


def _shape(step: Step) -> tuple[float, ...]:
    return step.cpus, step.gpus, step.gpus_if_any, step.memory


def _options(step: Step, nodes: Sequence[Resources]) -> dict[str, Any]:
    with_memory = [node for node in nodes if node.get("memory", 0) >= step.memory]
    most = max((node.get("GPU", 0) for node in with_memory), default=0)
    gpus = max(step.gpus, step.gpus_if_any if most >= step.gpus_if_any else 0)
    able = [node for node in with_memory if node.get("GPU", 0) >= gpus]
    if not able:
        largest = max(nodes, key=lambda node: (min(node.get("GPU", 0), step.gpus), node.get("memory", 0)))
        raise InputError(
            f"step {step.name} asks for {_written(step.gpus, step.memory)}, and the largest node has "
            f"{_written(largest.get('GPU', 0), largest.get('memory', 0))} for Ray; add a larger node, or start Ray on "
            f"one with more (ray start --num-gpus … --memory …)"
        )
    options: dict[str, Any] = {
        "num_cpus": min(step.cpus, max(node.get("CPU", 0) for node in able)),
        "num_gpus": gpus,
    }
    return {**options, "memory": step.memory} if step.memory else options


def _written(gpus: float, memory: float) -> str:
    return f"{gpus:g} GPU{'' if gpus == 1 else 's'} and {memory / 2**30:.2f} GiB of memory"
