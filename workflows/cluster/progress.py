"""A progress bar on the driver for work that goes on in Ray workers."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

_SECONDS_BETWEEN_LOOKS = 0.5


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


@contextmanager
def remote_progress(what: str, unit: str) -> Iterator[Any]:
    """Yield an actor: a worker's `set.remote(done, total, text)` moves a bar here, its `say.remote(line)` prints."""
    # On the driver's own node: on another, the loss of that node would end a run that can go on without it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    counter: Any = ray.remote(num_cpus=0)(_Counter).options(scheduling_strategy=here).remote()
    ended = threading.Event()
    with tqdm(desc=what, unit=f" {unit}") as bar:

        def look() -> None:
            done, total, text, said = ray.get(counter.get.remote())
            for line in said:
                tqdm.write(f"{what}: {line}", file=sys.stderr)
            bar.total = total or None
            bar.set_postfix_str(text, refresh=False)
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
