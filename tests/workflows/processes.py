"""Programs that a test starts as processes of their own: their ports, the wait for them, and their end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

SECONDS = 180
_SECONDS_TO_START = 300
_SECONDS_TO_END = 30


def wait_until(happened: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    give_up = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < give_up, what
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def end_session(leader: subprocess.Popen) -> None:
    """Kill a process that leads a session, and all of the session, until none is left."""
    leader.kill()
    leader.wait()
    while left := [process for process in psutil.process_iter() if _is_at_work(process, leader.pid)]:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def _is_at_work(process: psutil.Process, session: int) -> bool:
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    return False


def without_ray_address() -> dict[str, str]:
    """Return the environment of a program that is to start a Ray of its own."""
    return {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}


def run_until(arguments: list[str], happened: Callable[[], bool], program: str = "workflows.cli") -> None:
    """Start `isoenergy …`, or another program, and once `happened()` kill it and all that it started, outright."""
    command = [sys.executable, "-m", program, *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, env=without_ray_address(), **quiet)
    try:
        give_up = time.monotonic() + _SECONDS_TO_START
        while not happened():
            assert process.poll() is None, f"{command} ended by itself with {process.returncode}"
            assert time.monotonic() < give_up, f"{command} came to nothing"
            time.sleep(0.02)
    finally:
        started = _started_by(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for one in started:  # Ray's workers are in groups of their own, and would write on until they miss their node
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        psutil.wait_procs(started, timeout=_SECONDS_TO_END)


def _started_by(process: subprocess.Popen) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def files_in(folder: Path, pattern: str = "*") -> set[Path]:
    return set(folder.glob(pattern)) if folder.exists() else set()
