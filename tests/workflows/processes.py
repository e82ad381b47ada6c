"""Servers that a test starts as processes of their own: their ports, the wait for them, and their end."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable

import psutil

SECONDS = 180


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
