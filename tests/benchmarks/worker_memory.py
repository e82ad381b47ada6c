"""How much memory the workers of a local Ray take, sampled from outside."""

import contextlib
import re
import threading
import time
from pathlib import Path

import psutil

_STEP = re.compile(r"ray::(?P<name>[^ ()]+/[^ ()]+)")
"""What Ray calls a worker that runs a step; idle workers and Ray's own are called otherwise."""
_SECONDS_BETWEEN = 0.2


class WorkerMemory(threading.Thread):
    """Watches the Ray workers below this process while a `with` block runs.

    The object store's pages are left out: they are shared, and Ray bounds them.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.peaks: dict[str, int] = {}
        """Most bytes that a worker was seen to have resident, by the name of the step that it ran."""
        self.high_water: int = 0
        """Most bytes that any worker ever had resident, by the kernel's own count: no sample misses it."""
        self.own: int = 0
        """Most bytes that any worker was seen to have of its own, without the pages of libraries, which all share."""

    def __enter__(self) -> "WorkerMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Sample until the block ends."""
        driver = psutil.Process()
        while not self._ended.is_set():
            for process in driver.children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError, ValueError, KeyError, IndexError):
                    if step := _STEP.match(process.cmdline()[0]):
                        self._note(process.pid, step["name"])
            time.sleep(_SECONDS_BETWEEN)

    def _note(self, pid: int, step: str) -> None:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kilobytes = {
            name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest
        }
        resident = 1024 * (kilobytes["VmRSS"] - kilobytes["RssShmem"])
        self.peaks[step] = max(self.peaks.get(step, 0), resident)
        self.high_water = max(self.high_water, 1024 * (kilobytes["VmHWM"] - kilobytes["RssShmem"]))
        self.own = max(self.own, 1024 * kilobytes["RssAnon"])
