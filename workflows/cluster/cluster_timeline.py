"""How an autoscaling cluster grows and shrinks while something runs on it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from workflows.cluster.ray_internals import HEAD, cluster_states, is_dead

_SECONDS_BETWEEN_SAMPLES = 1.0


@dataclass(frozen=True)
class ClusterSample:
    """A cluster from one moment until the next sample."""

    seconds: float
    """Since the timeline began."""
    nodes: dict[str, int]
    """Live nodes by node type, without the head."""
    pending: int
    """Tasks, actors and bundles of placement groups that wait for room."""
    in_use: dict[str, float]
    """CPUs and GPUs that tasks, actors and placement groups have taken."""


@dataclass
class ClusterTimeline:
    """A sample whenever anything changed, and the last moment; oldest first."""

    samples: list[ClusterSample] = field(default_factory=list)


@contextmanager
def cluster_timeline() -> Iterator[ClusterTimeline]:
    """Record the cluster that this process is connected to until the body ends.

    A moment at which the cluster does not answer is left out.
    """
    timeline, ended, began = ClusterTimeline(), threading.Event(), time.monotonic()
    state_now = cluster_states()

    def record() -> None:
        while True:
            last = ended.is_set()
            try:
                state = state_now()
            except Exception:  # Ray's own kinds; a head under load answers late, and the run goes on
                state = None
            if state is not None:
                sample = cluster_sample(state, time.monotonic() - began)
                if (
                    last
                    or not timeline.samples
                    or replace(sample, seconds=timeline.samples[-1].seconds) != timeline.samples[-1]
                ):
                    timeline.samples.append(sample)
            if last:
                return
            ended.wait(_SECONDS_BETWEEN_SAMPLES)

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    try:
        yield timeline
    finally:
        ended.set()
        thread.join()


def cluster_sample(state: Any, seconds: float) -> ClusterSample:
    """Return what the cluster's state, a `ClusterResourceState` of Ray's, says at `seconds`."""
    alive = [node for node in state.node_states if not is_dead(node)]
    workers = [node for node in alive if HEAD not in node.total_resources]
    in_use = {
        kind: sum(node.total_resources.get(kind, 0.0) - node.available_resources.get(kind, 0.0) for node in alive)
        for kind in ("CPU", "GPU")
    }
    waiting = sum(request.count for request in state.pending_resource_requests)
    waiting += sum(len(gang.requests) for gang in state.pending_gang_resource_requests)
    nodes = Counter(node.ray_node_type_name or "unnamed" for node in workers)
    return ClusterSample(seconds, dict(nodes), waiting, in_use)
