"""A progress bar on the driver for work that goes on in Ray workers."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from workflows.cluster.beside_driver import beside_driver

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_LINES = 60.0


@dataclass(frozen=True)
class Bar:
    """A bar of this process."""

    what: str
    bar: Any

    def set(self, done: int, total: int, text: str = "") -> None:
        """Move it to `done` of `total`, with a text behind it; the clock of the work starts when first told."""
        if self.bar.total is None and total:
            self.bar.bar_format = None
            self.bar.set_description_str(self.what, refresh=False)
            self.bar.reset(total)
            self.bar.initial = self.bar.n = done
        self.bar.total = total or None
        self.bar.set_postfix_str(text, refresh=False)
        if done != self.bar.n or sys.stderr.isatty():
            self.bar.update(done - self.bar.n)
            self.bar.refresh()

    def say(self, line: str) -> None:
        """Print a line above it."""
        tqdm.write(f"{self.what}: {line}", file=sys.stderr)


class _Counter:
    """Holds where the work stands; workers set it, the driver reads it."""

    def __init__(self) -> None:
        self._done, self._total, self._text = 0, 0, ""
        self._said: list[str] = []

    def set(self, done: int, total: int, text: str = "") -> None:
        self._done, self._total, self._text = done, total, text

    def say(self, line: str) -> None:
        self._said.append(line)

    def get(self) -> tuple[int, int, str, list[str]]:
        said, self._said = self._said, []
        return self._done, self._total, self._text, said


@dataclass(frozen=True)
class RemoteBar:
    """A bar of the driver, as a worker has it."""

    counter: Any

    def set(self, done: int, total: int, text: str = "") -> None:
        """Move it; does not wait."""
        self.counter.set.remote(done, total, text)

    def say(self, line: str) -> None:
        """Print a line above it; does not wait."""
        self.counter.say.remote(line)


@contextmanager
def remote_progress(what: str, unit: str) -> Iterator[RemoteBar]:
    """Open a bar here that workers move."""
    import ray

    counter = beside_driver(_Counter)
    ended = threading.Event()
    with tqdm(desc=f"{what}: starting workers …", unit=f" {unit}", bar_format="{desc}") as bar:
        shown = Bar(what, bar)

        def look() -> None:
            done, total, text, said = ray.get(counter.get.remote())
            for line in said:
                shown.say(line)
            if total:
                shown.set(done, total, text)

        def watch() -> None:
            began, lines = time.monotonic(), 1
            while not ended.wait(_SECONDS_BETWEEN_LOOKS):
                look()
                waited = time.monotonic() - began
                if bar.total is None and waited > lines * _SECONDS_BETWEEN_LINES:
                    lines += 1
                    load = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} CPUs"
                    shown.say(f"workers are still starting after {waited:.0f} s ({load} here)")

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield RemoteBar(counter)
        finally:
            ended.set()
            watcher.join()
        look()
