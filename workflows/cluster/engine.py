"""Connecting to Ray."""

import logging
import os
import re
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from typing import Any

import ray

from isoenergy.errors import InputError, one_line
from isoenergy.storage import s3_patience
from workflows.cluster.patience import PATIENCE_MINUTES
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
_LOG = logging.getLogger(__name__)
_STARTS = 3
_SECONDS_BETWEEN_STARTS = 5.0
_LONGEST_REASON = 200
_LONGEST_SOCKET_PATH = 107
_SOCKET_BELOW_TMPDIR = "/ray/session_2000-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_CHATTER = b"Set ray log level from environment variable"


def connect(dashboard: bool = False, patience: float = 60 * PATIENCE_MINUTES) -> dict[str, float]:
    """Join the cluster that this process belongs to, or start Ray on this machine; return the resources there are.

    A job (RAY_ADDRESS is set) joins its cluster. A Ray that is started here listens on the loopback alone, and gets at
    least two logical CPUs, as a pipeline of actors and tasks stands still on one. dashboard: start Ray's, without which
    Ray Train inside Ray Tune never frees what a trial that was stopped early held. patience: seconds for which the
    workers of a Ray that is started here wait for S3, unless the environment says it. Raises InputError if no one
    answers at RAY_ADDRESS, or Ray does not start.
    """
    if not ray.is_initialized():
        on_sigterm = signal.getsignal(signal.SIGTERM)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address := os.environ.get("RAY_ADDRESS"):
                _require_answer(address)
                with on_the_loopback() if _is_on_the_loopback_alone(address) else nullcontext(), _without_chatter():
                    _join(address, **quiet)
            else:
                _require_usable_folder()
                for name, value in _WORKERS.items():
                    os.environ.setdefault(name, value)
                os.environ.setdefault(s3_patience.VARIABLE, f"{patience / 60:g}")
                _start(num_cpus=max(2, os.cpu_count() or 1), include_dashboard=dashboard, **quiet)
        if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's prints a stack of its C++, and exits with 1
    return dict(ray.cluster_resources())


def _join(address: str, **options: Any) -> None:
    """Join a Ray, and try again if this machine has too much to do; Ray waits for a minute or two each time."""
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(**options)
        except ConnectionError as error:
            said, load = one_line(error, _LONGEST_REASON), _load()
            if attempt == _STARTS or os.getloadavg()[0] <= (os.cpu_count() or 1):
                raise InputError(
                    f"the Ray at RAY_ADDRESS={address} answers, but does not take this process ({said}; {load}); where "
                    f"much else runs, here or there, run the same command again later; if it was started with a token, "
                    f"export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or put the token into ~/.ray/auth_token; else see "
                    f"that its version of Ray is {version('ray')}, as here"
                ) from error
            _LOG.warning("the Ray at RAY_ADDRESS does not take this process (%s; %s); trying again", said, load)
            ray.shutdown()
            time.sleep(_SECONDS_BETWEEN_STARTS * attempt)
        else:
            return


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"


def _start(**options: Any) -> None:
    """Start Ray here, and again if this machine has too much to do; Ray waits for half a minute each time."""
    for attempt in range(1, _STARTS + 1):
        try:
            with on_the_loopback(), _without_chatter():
                ray.init("local", **options)
        except Exception as error:  # Ray raises bare ones
            said = one_line(error, _LONGEST_REASON)
            load = _load()
            if attempt == _STARTS:
                raise InputError(
                    f"Ray did not start on this machine in {_STARTS} attempts ({said}; {load}); end what else runs "
                    f"here, and run the same command again"
                ) from error
            _LOG.warning("Ray did not start (%s; %s); trying again", said, load)
            ray.shutdown()
            time.sleep(_SECONDS_BETWEEN_STARTS * attempt)
        else:
            return


def _require_usable_folder() -> None:
    """Raise InputError where Ray's folder cannot be written, or its sockets' paths are longer than the system takes."""
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), None)
    if variable is None:
        return
    folder = os.environ[variable]
    room = _LONGEST_SOCKET_PATH - len(_SOCKET_BELOW_TMPDIR)
    if len(os.fsencode(folder)) > room:
        raise InputError(
            f"{variable} is {folder}, {len(os.fsencode(folder))} bytes long, and the sockets that Ray makes below it "
            f"may have paths of {_LONGEST_SOCKET_PATH} bytes: set RAY_TMPDIR to a folder of at most {room} bytes, such "
            f"as /tmp"
        )
    if variable == "RAY_TMPDIR":  # where TMPDIR cannot be written, another folder is taken
        try:
            os.makedirs(folder, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise InputError(f"RAY_TMPDIR is {folder}, which cannot be written ({error}); give one that can") from error


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Leave out the line in which Ray's C++ says that it is quiet, which nothing else silences; pass on all others.

    Where Ray fails, all that its parts say on the way is logged for those who ask: the error that is raised says it.
    """
    here, failed = os.dup(2), True
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
            failed = False
        finally:
            os.dup2(here, 2)
            os.close(here)
            said.seek(0)
            for line in said:
                if failed:
                    _LOG.debug("%s", line.decode(errors="replace").rstrip())
                elif _CHATTER not in line:
                    os.write(2, line)


def _is_on_the_loopback_alone(address: str) -> bool:
    """Return whether the Ray at an address is one that `on_the_loopback` started."""
    there = _PLAIN_ADDRESS.fullmatch(address)
    if there is None or there[1] not in ("127.0.0.1", "localhost"):
        return False
    try:
        socket.create_connection((ray.util.get_node_ip_address(), int(there[2])), _SECONDS_TO_ANSWER).close()
    except OSError:
        return True
    return False


def _require_answer(address: str) -> None:
    """Ray itself tries for minutes."""
    if there := _PLAIN_ADDRESS.fullmatch(address):
        try:
            socket.create_connection((there[1], int(there[2])), _SECONDS_TO_ANSWER).close()
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
