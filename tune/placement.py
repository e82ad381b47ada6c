"""What a pass takes of the cluster, and how many there is room for."""

from dataclasses import dataclass
from typing import Self

from isoenergy.errors import InputError
from tune.search_config import SearchConfig
from workflows.cluster.cluster_size import ClusterSize, Resources


@dataclass(frozen=True)
class PassPlacement:
    """What each worker of a pass is given, and how many passes run at a time."""

    workers: int
    cpus: int
    gpus: float
    concurrent: int
    """As many as fit, now or, on a cluster that autoscales, at its largest."""

    @classmethod
    def fit(cls, config: SearchConfig) -> Self:
        """Lay passes out on the cluster that this process has joined; raises InputError if there is room for none."""
        size = ClusterSize.of_this_one()
        gpus = config.gpus
        if gpus is None:
            gpus = 1.0 if any(node.get("GPU", 0) >= 1 for way in size.ways for node, _ in way) else 0.0
        each = {"CPU": float(config.cpus), **({"GPU": gpus} if gpus else {})}
        room = room_for(each, size)
        passes = room // config.workers
        if passes == 0:
            asked = " and ".join(f"{amount:g} {kind}{'s' * (amount != 1)}" for kind, amount in each.items())
            raise InputError(
                f"a pass has {config.workers} worker{'s' * (config.workers != 1)} of {asked}, and the cluster has room "
                f"for {room} of them{' at its largest' * bool(size.later)}; give smaller --workers, --cpus or --gpus"
            )
        return cls(config.workers, config.cpus, gpus, min(passes, config.concurrent or passes))

    @property
    def resources(self) -> dict[str, float]:
        """Resources of a worker."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else ""
        each = f"{self.cpus} CPU{'s' * (self.cpus != 1)}{gpus}"
        workers = f"{self.workers} workers of {each} each" if self.workers > 1 else each
        return f"{self.concurrent} pass{'es' * (self.concurrent != 1)} at a time, {workers}"


def room_for(each: Resources, size: ClusterSize) -> int:
    """Return how many bundles of resources fit on a cluster, as it is or at its largest."""
    return max(sum(_places(node, each) * count for node, count in way) for way in size.ways)


def _places(node: Resources, each: Resources) -> int:
    return min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in each.items())
