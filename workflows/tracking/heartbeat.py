"""A sign of life of a run while its process lives: one whose process is gone is found, and its status becomes true."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from workflows.tracking.tracking_client import client

_LOG = logging.getLogger(__name__)
TAG = "isoenergy_heartbeat"
"""Seconds since 1970 of the last sign of life."""
PROCESS_TAG = "isoenergy_process"
"""Which process it is of: the machine, the processes that see each other, the number and the start."""
_SECONDS_BETWEEN = 60.0
_SECONDS_WITHOUT = 600.0
"""So long without a sign, some of which a server may have missed, and the process is gone."""
_MOST_RUNS = 1000


def tags() -> dict[str, str]:
    """Return a sign of life, and whose it is where that can be told."""
    here = _here()
    process = f"{here} {os.getpid()} {_start_of(os.getpid())}" if here else ""
    return {TAG: _now(), PROCESS_TAG: process}


@contextmanager
def beating(uri: str, run: str) -> Iterator[None]:
    """Give signs of life of a run while the body runs, from a thread; a server that does not answer misses them."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_SECONDS_BETWEEN):
            with suppress(Exception):  # the next one tells as much
                client(uri).set_tag(run, TAG, _now())

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def end_lost_runs(uri: str, experiment: str, but: str = "") -> None:
    """Give the status KILLED to runs that are RUNNING and whose process is gone, and to those below them.

    A process of this machine is looked for; one of another is gone if it gave no sign for ten minutes. A run of a
    version that gave no signs is left as it is. but: a run that is gone on with now.
    """
    running = client(uri).search_runs([experiment], "attributes.status = 'RUNNING'", max_results=_MOST_RUNS)
    lost = {run.info.run_id for run in running if run.info.run_id != but and _is_gone(run.data.tags)}
    below = {
        run.info.run_id
        for run in running
        if run.info.run_id != but and TAG not in run.data.tags and run.data.tags.get("mlflow.parentRunId") in lost
    }
    for run_id in lost | below:
        client(uri).set_terminated(run_id, "KILLED")
    if lost:
        _LOG.info("MLflow: %d runs whose process is gone are KILLED, no longer RUNNING", len(lost | below))


def _is_gone(tags: Mapping[str, str]) -> bool:
    match tags.get(PROCESS_TAG, "").rsplit(" ", 2):
        case [here, process, start] if here == _here():
            return _start_of(int(process)) != start
    return float(tags.get(TAG, "inf")) < time.time() - _SECONDS_WITHOUT


def _now() -> str:
    return str(int(time.time()))


def _here() -> str:
    """Return this boot of this machine and its namespace of processes; nothing where Linux does not tell."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(process: int) -> str:
    """Return when a process started; nothing if there is none, or one that has ended and is only not yet collected."""
    try:
        found = psutil.Process(process)
        return "" if found.status() == psutil.STATUS_ZOMBIE else str(found.create_time())
    except psutil.Error:
        return ""
