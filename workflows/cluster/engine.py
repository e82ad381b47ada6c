"""Connecting to Ray."""

import logging
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray

from isoenergy.errors import InputError
from workflows.cluster.ray_internals import on_the_loopback

_WORKERS = {
    # Ray's own is 15, next to the 19 of tasks that are to give way to an encoder on the same cores.
    "RAY_worker_niceness": "5",
    # A tower's activations come from a thread of the worker: from an arena of its own they would be given back to the
    # kernel, and faulted in again, at every batch. It costs a tenth of the throughput on two cores.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_MMAP_MAX_": "0",
    # Ray looks ten times a second for new files of what workers print, to tell drivers; none here wants to be told.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "3600",
    # Train looks every two seconds whether its workers have started or ended; here there are few, and it is near.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
}
"""Environment of the workers of a Ray that is started here; a cluster's nodes set their own."""


_PLAIN_ADDRESS = re.compile(r"(?:ray://)?\[?([^\[\]/]+)\]?:(\d+)")
_SECONDS_TO_ANSWER = 5.0
_SECONDS_BETWEEN_LOOKS = 0.5


def connect(dashboard: bool = False) -> dict[str, float]:
    """Join the cluster that this process belongs to, or start Ray on this machine; return the resources there are.

    A job (RAY_ADDRESS is set) joins its cluster. A Ray that is started here listens on the loopback alone, and gets at
    least two logical CPUs, as a pipeline of actors and tasks stands still on one. dashboard: start Ray's, without which
    Ray Train inside Ray Tune never frees what a trial that was stopped early held. Raises InputError if no one answers
    at RAY_ADDRESS.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address := os.environ.get("RAY_ADDRESS"):
                _require_answer(address)
                with on_the_loopback() if _is_on_the_loopback_alone(address) else nullcontext():
                    ray.init(**quiet)
            else:
                for name, value in _WORKERS.items():
                    os.environ.setdefault(name, value)
                with on_the_loopback(), _started():
                    ray.init("local", num_cpus=max(2, os.cpu_count() or 1), include_dashboard=dashboard, **quiet)
    return dict(ray.cluster_resources())


@contextmanager
def _started() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Ray raises bare ones, when this machine has too much to do
        said = " ".join(str(error).split())
        raise InputError(f"Ray did not start on this machine ({said[:200]}); run the same command again") from error


def _is_on_the_loopback_alone(address: str) -> bool:
    """Return whether the Ray at an address is one that `on_the_loopback` started."""
    place = _PLAIN_ADDRESS.fullmatch(address)
    if place is None or place[1] not in ("127.0.0.1", "localhost"):
        return False
    try:
        socket.create_connection((ray.util.get_node_ip_address(), int(place[2])), _SECONDS_TO_ANSWER).close()
    except OSError:
        return True
    return False


def _require_answer(address: str) -> None:
    """Ray itself tries for minutes."""
    if place := _PLAIN_ADDRESS.fullmatch(address):
        try:
            socket.create_connection((place[1], int(place[2])), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f"no Ray answers at RAY_ADDRESS={address} ({error}); give the address of a running cluster, or unset "
                f"RAY_ADDRESS to use this machine"
            ) from error


def interruptibly(function: Callable[[], object], look: Callable[[], None] = lambda: None) -> None:
    """Call `function` on a thread, so that signals reach this one: raised inside Ray's C++ they end in an abort.

    look: called meanwhile, twice a second; what it raises is raised, and `function` left to itself.
    """
    failures: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_SECONDS_BETWEEN_LOOKS)
        look()
    if failures:
        raise failures[0]
