"""How large a Ray cluster is, and may become."""

from dataclasses import dataclass

from workflows.cluster import ray_internals

_UNBOUNDED = 1000

Resources = dict[str, float]


@dataclass(frozen=True)
class ClusterSize:
    """Resources of nodes, and how many there are of each kind."""

    now: list[tuple[Resources, int]]
    later: list[tuple[Resources, int]]
    """At its largest; empty if the cluster does not autoscale."""

    @classmethod
    def of_this_one(cls) -> "ClusterSize":
        """Return the size of the cluster that this process is connected to."""
        import ray  # settings name what is laid out on a cluster, and need no Ray

        now = [(dict(node["Resources"]), 1) for node in ray.nodes() if node["Alive"]]
        growth = ray_internals.growth()
        return cls(now, [(resources, _UNBOUNDED if count < 0 else count) for resources, count in growth])

    @property
    def ways(self) -> tuple[list[tuple[Resources, int]], ...]:
        """As it is, and at its largest."""
        return self.now, self.later
