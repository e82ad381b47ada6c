"""Ending a training at a known step: an engine's progress is told every report, in the worker that reports it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.training.training_engine import Progress, TrainingEngine


@dataclass(frozen=True)
class EndingBar:
    """A bar that ends the training once, at the report of `step`, before a checkpoint of that step is kept."""

    bar: Progress
    step: int
    end: Callable[[], None]
    ended: Path
    """Written when it has: the workers that start again are other processes."""

    def set(self, done: int, total: int, text: str = "") -> None:
        self.bar.set(done, total, text)
        if done >= self.step and not self.ended.exists():
            self.ended.touch()
            self.end()

    def say(self, line: str) -> None:
        self.bar.say(line)


class EndedAt:
    """An engine on which a training ends once at a step: `EndedAt(RayTraining(), 12, kill_this_process, file)`.

    end: what is called in the worker that reports; it kills its process, or raises. On Ray it must be importable.
    """

    def __init__(self, engine: TrainingEngine, step: int, end: Callable[[], None], ended: Path) -> None:
        self._engine, self._step, self._end, self._ended = engine, step, end, ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @contextmanager
    def progress(self, what: str, unit: str) -> Iterator[EndingBar]:
        with self._engine.progress(what, unit) as bar:
            yield EndingBar(bar, self._step, self._end, self._ended)


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def note_this_process(file: Path) -> None:
    file.write_text(str(os.getpid()))


def note_and_kill_this_process(file: Path) -> None:
    note_this_process(file)
    kill_this_process()
