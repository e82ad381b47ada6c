"""Small actors that the driver and its workers share."""

from typing import Any


def beside_driver(kind: type) -> Any:
    """Start an actor of a class on the driver's own node; it takes no CPU.

    On another node, the loss of that would end a run that can go on without it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(kind).options(scheduling_strategy=here).remote()
