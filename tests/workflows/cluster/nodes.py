"""A Ray cluster of several nodes on this machine, in a process of its own: nodes can be killed while a run goes on."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

_SECONDS_BETWEEN_LOOKS = 0.2


@contextmanager
def cluster_of(nodes: int, cpus: int, head_cpus: int = 1) -> Iterator[tuple[Cluster, list[Any]]]:
    """Start a head and `nodes` nodes with logical resources, connect to them, and end them all."""
    with nodes_of(head_cpus) as cluster:
        try:
            workers = [cluster.add_node(num_cpus=cpus) for _ in range(nodes)]
            cluster.wait_for_nodes()
            ray.init(cluster.address, log_to_driver=False, logging_level="error")
            yield cluster, workers
        finally:
            ray.shutdown()


@contextmanager
def nodes_of(head_cpus: int) -> Iterator[Cluster]:
    """Start a head to which nodes can be added, and end them all; this process is not connected to it."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head_cpus, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def kill_node_once(node: Any, happened: Callable[[], bool]) -> threading.Thread:
    """Kill a node's processes outright, as a machine that is switched off would, once `happened()`."""

    def watch() -> None:
        while not happened():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        for processes in node.all_processes.values():
            for process in processes:
                os.kill(process.process.pid, signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
