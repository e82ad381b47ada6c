"""A progress bar on the driver for work that goes on in Ray workers."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from tqdm import tqdm

_SECONDS_BETWEEN_LOOKS = 0.5


class _Counter:
    """Holds where the work stands; workers set it, the driver reads it."""

    def __init__(self) -> None:
        self._done, self._total = 0, 0

    def set(self, done: int, total: int) -> None:
        self._done, self._total = done, total

    def get(self) -> tuple[int, int]:
        return self._done, self._total


@contextmanager
def remote_progress(what: str, unit: str) -> Iterator[Any]:
    """Yield an actor handle; a worker's `handle.set.remote(done, total)` moves a bar here."""
    counter: Any = ray.remote(num_cpus=0)(_Counter).remote()
    ended = threading.Event()
    with tqdm(desc=what, unit=f" {unit}") as bar:

        def look() -> None:
            done, total = ray.get(counter.get.remote())
            bar.total = total or None
            if done != bar.n or sys.stderr.isatty():
                bar.update(done - bar.n)
                bar.refresh()

        def watch() -> None:
            while not ended.wait(_SECONDS_BETWEEN_LOOKS):
                look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield counter
        finally:
            ended.set()
            watcher.join()
        look()
