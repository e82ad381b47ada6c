"""What a run of `isoenergy embed` takes of a cluster, checked before it starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize

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
        size = ClusterSize.of_this_one()
        cpus, gpus = (max(sum(r.get(kind, 0) * n for r, n in way) for way in size.ways) for kind in ("CPU", "GPU"))
        share = gpus_per_actor if gpus else 0.0
        room = max(sum(_actors_on(resources, share) * count for resources, count in way) for way in size.ways)
        what = f"of {gpus_per_actor:g} GPU" if gpus else "(on CPUs one a node)"
        largest = " at its largest" * bool(size.later)
        has = f"the cluster has {len(size.now)} nodes, {cpus:g} CPUs, {gpus:g} GPUs{largest}"
        # If encoders had every CPU, nothing would be decoded, and nothing would say so.
        lowest, highest = actors or (1, max(min(room, int(cpus) - 1), 1))
        if lowest > room:
            raise InputError(
                f"--actors asks for at least {lowest} encoders {what}, and there is room for {room}: {has}; change "
                f"--actors or --gpus-per-actor, or add nodes"
            )
        if cpus < lowest + 1:
            raise InputError(
                f"{lowest} encoder actors take 1 CPU each, and decoding at least one more: {has}; change --actors or "
                f"add nodes"
            )
        return cls((lowest, highest), share, cpus, max(len(size.now), math.ceil(highest / _ENCODERS_A_WRITER)))


def _actors_on(node: Mapping[str, float], gpus_per_actor: float) -> int:
    """How many encoder actors a node has room for; without GPUs each takes a whole node."""
    if not gpus_per_actor:
        return int(node.get("CPU", 0) >= 1)
    return min(int(node.get("GPU", 0) / gpus_per_actor), int(node.get("CPU", 0)))
