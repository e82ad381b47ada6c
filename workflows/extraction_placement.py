"""What a run of `isoenergy embed` takes of a cluster, checked before it starts."""

import math
from dataclasses import dataclass
from typing import Self

import ray
from ray._private.state import state as ray_state

from isoenergy.errors import InputError

_ENCODERS_A_WRITER = 8


@dataclass(frozen=True)
class Placement:
    """What a run takes of the cluster."""

    actors: tuple[int, int]
    """Fewest and most encoder actors."""
    gpus_per_actor: float
    """0 on CPUs."""
    cpus: float
    """Of the whole cluster, as large as it may grow."""
    writers: int

    @classmethod
    def fit(cls, actors: tuple[int, int] | None, gpus_per_actor: float) -> Self:
        """Fit a run to the cluster that this process is connected to; `actors` None takes all of it.

        A cluster that autoscales counts as large as it may grow. Raises InputError if it cannot hold the run, saying
        what is missing.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        ceiling = ray_state.get_max_resources_from_cluster_config() or {}
        cpus, gpus = (max(sum(n.get(kind, 0) for n in nodes), ceiling.get(kind, 0)) for kind in ("CPU", "GPU"))
        if gpus:
            now = sum(int(node.get("GPU", 0) / gpus_per_actor) for node in nodes)
            room, what = max(now, int(ceiling.get("GPU", 0) / gpus_per_actor)), f"of {gpus_per_actor:g} GPU"
        else:
            room, what = max(1, sum(node.get("CPU", 0) >= 1 for node in nodes)), "on CPUs, one a node"
        has = f"the cluster has {len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs{' at its largest' * bool(ceiling)}"
        lowest, highest = actors or (1, max(room, 1))
        if lowest > room:
            raise InputError(
                f"at least {lowest} encoder actors {what} asked for, and there is room for {room}: {has}; change "
                f"--actors or --gpus-per-actor, or add nodes"
            )
        if cpus < lowest + 1:
            raise InputError(
                f"{lowest} encoder actors take 1 CPU each, and decoding at least one more: {has}; change --actors or "
                f"add nodes"
            )
        writers = max(len(nodes), math.ceil(highest / _ENCODERS_A_WRITER))
        return cls((lowest, highest), gpus_per_actor if gpus else 0.0, cpus, writers)
