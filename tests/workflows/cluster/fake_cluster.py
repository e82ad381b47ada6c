"""cluster.yaml on this machine: a cluster that grows and shrinks by itself, of nodes that are made up.

The autoscaler is the one that `ray up` starts, and the node types are cluster.yaml's. Only the machines are not there:
Ray's own provider of fake nodes starts the processes of each here, with the CPUs and GPUs that its type has.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.workflows.processes import end_session, free_ports, wait_until

_ROOT = Path(__file__).parents[3]
CLUSTER: dict[str, Any] = yaml.safe_load((_ROOT / "cluster.yaml").read_text())
_HEAD = "ray.head.default"  # the only head that the provider knows
_HEAD_ID = "f" * 51 + "00000"
_COMMANDS = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
_IDLE_MINUTES = 0.25
_OBJECT_STORE = 100 * 2**20
_SECONDS_TO_START = 300


def fake_config(cluster: Mapping[str, Any], gcs_address: str) -> dict[str, Any]:
    """Return what the autoscaler is to read: the node types of `cluster`, of machines that are not there."""
    types = {}
    for name, node in cluster["available_node_types"].items():
        kept = {key: node[key] for key in ("min_workers", "max_workers", "priority") if key in node}
        resources = node["resources"] | {"object_store_memory": _OBJECT_STORE}
        types[_HEAD if name == cluster["head_node_type"] else name] = kept | {"resources": resources, "node_config": {}}
    return {
        "cluster_name": cluster["cluster_name"],
        "max_workers": cluster["max_workers"],
        "idle_timeout_minutes": _IDLE_MINUTES,
        "provider": {
            "type": "external",
            "module": "tests.workflows.cluster.fake_machines.FakeMachines",
            "gcs_address": gcs_address,
            "head_node_id": _HEAD_ID,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": types,
        "head_node_type": _HEAD,
        **{f"{kind}_commands": [] for kind in _COMMANDS},
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    }


@contextmanager
def fake_cluster() -> Iterator[str]:
    """Start the head of a fake cluster.yaml, without workers; end it and whatever it has started.

    Yields the address for RAY_ADDRESS.
    """
    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie below
    port, client, agent, metrics = free_ports(4)
    address = f"127.0.0.1:{port}"
    config = Path(folder, "autoscaling.json")
    config.write_text(json.dumps(fake_config(CLUSTER, address)))
    options = {
        "port": port,
        "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent,
        "metrics-export-port": metrics,
        "temp-dir": folder,
        "num-cpus": 0,
        "object-store-memory": _OBJECT_STORE,
        "include-dashboard": "false",
        "autoscaling-config": config,
    }
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "PYTHONPATH": str(_ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        # As `ray up` does.
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_NODE_TYPE_NAME": _HEAD,
        # A node with 32 CPUs starts 32 processes with the first driver.
        "RAY_prestart_worker_first_driver": "0",
    }
    log = Path(folder, "start.log")
    with log.open("w") as stream:
        head = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd=folder,
        )

    def up() -> bool:
        assert head.poll() is None, log.read_text()
        return "Ray runtime started" in log.read_text()

    try:
        wait_until(up, "the head did not start", _SECONDS_TO_START)
        told = [sys.executable, "-m", "workflows.node_types", str(config)]  # cluster.yaml's head does the same
        subprocess.run(told, env=environment | {"RAY_ADDRESS": address}, stdout=subprocess.DEVNULL, check=True)
        yield address
    finally:
        end_session(head)
        shutil.rmtree(folder, ignore_errors=True)
