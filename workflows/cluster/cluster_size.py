"""How large a Ray cluster is, and may become."""

from dataclasses import dataclass

import ray
from ray._private.state import state as ray_state

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
        now = [(dict(node["Resources"]), 1) for node in ray.nodes() if node["Alive"]]
        config = ray_state.get_cluster_config()
        groups = [] if config is None else [(dict(g.resources), g.max_count) for g in config.node_group_configs]
        return cls(now, [(resources, _UNBOUNDED if count < 0 else count) for resources, count in groups])

    @property
    def ways(self) -> tuple[list[tuple[Resources, int]], ...]:
        """As it is, and at its largest."""
        return self.now, self.later
