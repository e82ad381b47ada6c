"""What a run of `isoenergy apply` takes of a cluster, checked before it starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize


@dataclass(frozen=True)
class ApplyingPlacement:
    """Workers of one CPU each."""

    now: int
    """How many there is room for."""
    most: int
    """And at the cluster's largest, or as many as were asked for."""
    gpus_per_worker: float
    limited: bool = False
    """Whether no more than `most` may wait for room either."""

    @classmethod
    def fit(cls, workers: int | None, gpus_per_worker: float) -> Self:
        """Fit a run to the cluster that this process is connected to; `workers` None takes all of it.

        A cluster that autoscales counts as large as it may grow. Raises InputError if it cannot hold one worker.
        """
        size = ClusterSize.of_this_one()
        now, later = (sum(_workers_on(node, gpus_per_worker) * count for node, count in way) for way in size.ways)
        most = max(now, later)
        if not most:
            what = f"1 CPU and {gpus_per_worker:g} GPU" if gpus_per_worker else "1 CPU"
            raise InputError(
                f"a worker takes {what}, and none of the cluster's {len(size.now)} nodes has that; add nodes or change "
                f"--gpus-per-worker"
            )
        return cls(now, min(most, workers or most), gpus_per_worker, workers is not None)

    def at_once(self, most: int) -> int:
        """Return how many tasks Ray is to know of, `most` at most: as many wait as run, unless that is limited."""
        return min(self.most if self.limited else 2 * self.most, most)


def _workers_on(node: Mapping[str, float], gpus_per_worker: float) -> int:
    cpus = int(node.get("CPU", 0))
    return min(cpus, int(node.get("GPU", 0) / gpus_per_worker)) if gpus_per_worker else cpus
