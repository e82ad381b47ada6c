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

from isoenergy.errors import InputError
from workflows.cluster import engine
from workflows.cluster.ray_internals import tell_growth
from workflows.command import run_command


def node_groups(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the kinds of workers in a cluster config, as `ray up` leaves it on the head, that may be started."""
    return [
        {
            "name": name,
            "resources": {kind: int(amount) for kind, amount in node_type["resources"].items()},
            "min_count": node_type.get("min_workers", 0),
            "max_count": min(node_type.get("max_workers", config["max_workers"]), config["max_workers"]),
        }
        for name, node_type in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]


def main(arguments: list[str]) -> None:
    """Report the config file that is named: JSON, as `ray up` leaves it on the head."""
    if len(arguments) != 1:
        raise InputError(f"give one config file, such as ~/ray_bootstrap_config.yaml on a head, got {arguments}")
    config = json.loads(Path(arguments[0]).expanduser().read_text())
    os.environ.setdefault("RAY_ADDRESS", "auto")
    engine.connect()
    groups = node_groups(config)
    tell_growth(groups)
    print(", ".join(f"{group['name']}: at most {group['max_count']}" for group in groups))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
