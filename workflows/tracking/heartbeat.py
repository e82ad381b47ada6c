"""A sign of life of a run while its process lives: one whose process is gone is found, and its status becomes true."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from workflows.tracking.tracking_client import client

_LOG = logging.getLogger(__name__)
TAG = "isoenergy_heartbeat"
"""Seconds since 1970 of the last sign of life."""
_SECONDS_BETWEEN = 60.0
_SECONDS_WITHOUT = 600.0
"""So long without a sign, some of which a server may have missed, and the process is gone."""
_MOST_RUNS = 1000


def tag() -> dict[str, str]:
    """Return a sign of life."""
    return {TAG: str(int(time.time()))}


@contextmanager
def beating(uri: str, run: str) -> Iterator[None]:
    """Give signs of life of a run while the body runs, from a thread; a server that does not answer misses them."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            with suppress(Exception):  # the next one tells as much
                client(uri).set_tag(run, TAG, tag()[TAG])

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def end_lost_runs(uri: str, experiment: str, but: str = "") -> None:
    """Give the status KILLED to runs that are RUNNING and whose process is gone, and to those below them.

    A run of a version that gave no signs is left as it is. but: a run that is gone on with now.
    """
    running = client(uri).search_runs([experiment], "attributes.status = 'RUNNING'", max_results=_MOST_RUNS)
    latest = time.time() - _SECONDS_WITHOUT
    lost = {
        run.info.run_id for run in running if run.info.run_id != but and float(run.data.tags.get(TAG, "inf")) < latest
    }
    below = {
        run.info.run_id
        for run in running
        if run.info.run_id != but and TAG not in run.data.tags and run.data.tags.get("mlflow.parentRunId") in lost
    }
    for run_id in lost | below:
        client(uri).set_terminated(run_id, "KILLED")
    if lost:
        _LOG.info("MLflow: %d runs whose process is gone are KILLED, no longer RUNNING", len(lost | below))
