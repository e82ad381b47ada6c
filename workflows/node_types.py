"""`python -m workflows.node_types CONFIG`: tell a cluster what it may grow to.

The autoscaler that `ray up` starts keeps its node types to itself. Ray Train, Ray Data and our stages look them up
where this puts them (`workflows.cluster.cluster_size`); without it, a cluster whose workers are all yet to be started
has no room.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray._raylet import (  # type: ignore[attr-defined]
    GCS_AUTOSCALER_CLUSTER_CONFIG_KEY,
    GCS_AUTOSCALER_STATE_NAMESPACE,
)
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig  # type: ignore[attr-defined]
from ray.experimental.internal_kv import _internal_kv_put

from isoenergy.errors import InputError
from workflows.cluster import engine
from workflows.command import run_command


def node_groups(config: Mapping[str, Any]) -> list[NodeGroupConfig]:
    """Return the kinds of workers in a cluster config, as `ray up` leaves it on the head, that may be started."""
    return [
        NodeGroupConfig(
            name=name,
            resources={kind: int(amount) for kind, amount in node_type["resources"].items()},
            min_count=node_type.get("min_workers", 0),
            max_count=min(node_type.get("max_workers", config["max_workers"]), config["max_workers"]),
        )
        for name, node_type in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]


def report(config: Mapping[str, Any]) -> None:
    """Write the node types of a cluster config where this process's cluster looks them up."""
    message = ClusterConfig(node_group_configs=node_groups(config)).SerializeToString()
    _internal_kv_put(
        GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode(), message, namespace=GCS_AUTOSCALER_STATE_NAMESPACE.encode()
    )


def main(arguments: list[str]) -> None:
    """Report the config file that is named: JSON, as `ray up` leaves it on the head."""
    if len(arguments) != 1:
        raise InputError(f"give one config file, such as ~/ray_bootstrap_config.yaml on a head, got {arguments}")
    config = json.loads(Path(arguments[0]).expanduser().read_text())
    os.environ.setdefault("RAY_ADDRESS", "auto")
    engine.connect()
    report(config)
    print(", ".join(f"{group.name}: at most {group.max_count}" for group in node_groups(config)))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
