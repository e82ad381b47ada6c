"""Killing one of this process's Ray workers outright."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path


def kill_a_worker_once(happened: Callable[[], bool], what: str, ended: Path) -> threading.Thread:
    """Kill a worker whose title holds `what`, once `happened()`, and write `ended`; return the thread that does."""

    def watch() -> None:
        while not (happened() and (found := _workers(what))):
            time.sleep(0.02)
        os.kill(found[0], signal.SIGKILL)
        ended.touch()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _workers(what: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
                if title.startswith("ray::") and what in title and os.getpid() in _ancestors(int(folder.name)):
                    found.append(int(folder.name))
            except OSError:  # it has ended
                continue
    return found


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
