"""A seeded schedule of faults, and what became of each."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.bad_day.services import Services
from tests.s3.proxy import Fault

KINDS = (
    "driver killed",
    "driver told to stop",
    "worker killed",
    "node killed",
    "S3 away",
    "MLflow away",
    "disk full",
    "second run",
)
_SECONDS_BETWEEN = 4.0, 15.0
_SECONDS_AWAY = 5.0, 60.0
_SECONDS_FULL = 5.0, 30.0
_SECONDS_WITHOUT_A_NODE = 2.0, 20.0
_S3 = {Fault.RESET: "resets", Fault.SLOW_DOWN: "says 503", Fault.SILENCE: "says nothing"}


@dataclass(eq=False)
class Event:
    """A fault that was done."""

    kind: str
    stage: str
    became: str = ""


@dataclass
class Second:
    """The second run of a stage, if there is one."""

    process: subprocess.Popen | None = None
    file: Path = Path()
    event: Event | None = None


@dataclass
class Attempt:
    """A driver, and the faults of its time."""

    stage: str
    process: subprocess.Popen
    start: Callable[[Path], subprocess.Popen]
    """Starts the same command; what it prints goes to a file."""
    second: Second
    file: Path
    events: list[Event] = field(default_factory=list)


class Faults:
    """Draws faults while drivers run; which kind, when and for how long follows from the seed."""

    def __init__(self, services: Services, seed: int, seconds_a_stage: float, say: Callable[[str], None]) -> None:
        """Begin with none.

        seconds_a_stage: in which they come to one stage, which a slow machine would else never leave. say: takes a line
        of the log.
        """
        self._services, self._say = services, say
        self._random = random.Random(seed)
        self._seconds_a_stage = seconds_a_stage
        self._begun: dict[str, float] = {}
        self._kinds = self._bag()
        self._next = float("inf")
        self._later: list[tuple[float, str, Callable[[], Future | None]]] = []
        self._coming: dict[str, Future] = {}
        self.events: list[Event] = []

    def begin(self) -> None:
        """Let faults come."""
        self._next = self._draw(*_SECONDS_BETWEEN)

    def look(self, attempt: Attempt | None) -> None:
        """Do what is due: an end of what was begun, or the next fault, to the driver that runs."""
        now = time.monotonic()
        for due in [each for each in self._later if each[0] <= now]:
            self._later.remove(due)
            self._end(due)
        for kind, future in [*self._coming.items()]:
            if future.done():
                future.result()
                del self._coming[kind]
                self._say(f"{kind}: back")
        if attempt is not None and now >= self._next:
            self._next = self._draw(*_SECONDS_BETWEEN)
            kind = next(self._kinds)
            begun = self._begun.setdefault(attempt.stage, now)
            if now < begun + self._seconds_a_stage and not self._is_on(kind):
                self._do(kind, attempt)

    def heal(self) -> None:
        """End all that was begun, and begin nothing more."""
        self._next = float("inf")
        for due in self._later:
            self._end(due)
        self._later.clear()
        for kind, future in self._coming.items():
            future.result()
            self._say(f"{kind}: back")
        self._coming.clear()

    def summary(self) -> dict[str, dict[str, int]]:
        """Return how often each kind was done, by what became of it."""
        return {kind: dict(Counter(e.became for e in self.events if e.kind == kind)) for kind in KINDS}

    def _end(self, due: tuple[float, str, Callable[[], Future | None]]) -> None:
        _, kind, end = due
        if (future := end()) is not None:
            self._coming[kind] = future
        else:
            self._say(f"{kind}: over")

    def _is_on(self, kind: str) -> bool:
        return kind in self._coming or any(kind == each for _, each, _ in self._later)

    def _do(self, kind: str, attempt: Attempt) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended just now
            what = self._done(kind, attempt)
            if what:
                event = Event(kind, attempt.stage)
                self.events.append(event)
                attempt.events.append(event)
                if kind == "second run":
                    attempt.second.event = event
                self._say(f"{attempt.stage}: {kind}: {what}")

    def _done(self, kind: str, attempt: Attempt) -> str:
        """Do a fault and return what was done, to what; nothing, if there was nothing to do it to."""
        services, pid = self._services, attempt.process.pid
        match kind:
            case "driver killed":
                os.killpg(pid, signal.SIGKILL)
                return f"process {pid}"
            case "driver told to stop":
                os.kill(pid, signal.SIGTERM)
                return f"process {pid}"
            case "worker killed":
                workers = sorted(services.workers(), key=lambda process: process.pid)
                if not workers:
                    return ""
                worker = self._random.choice(workers)
                name = worker.cmdline()[0]
                worker.kill()
                return f"{name}, process {worker.pid}"
            case "node killed":
                if len(services.nodes) < 2:
                    return ""
                number = self._random.randrange(len(services.nodes))
                services.lose_node(number)
                seconds = self._later_on(kind, _SECONDS_WITHOUT_A_NODE, services.add_node)
                return f"one of {len(services.nodes) + 1}; another comes in {seconds:.0f} s"
            case "S3 away":
                fault = self._random.choice([*_S3])
                services.proxy.rule = lambda _: fault
                return f"{_S3[fault]} for {self._later_on(kind, _SECONDS_AWAY, self._s3_back):.0f} s"
            case "MLflow away":
                services.mlflow.kill()
                return f"for {self._later_on(kind, _SECONDS_AWAY, services.start_mlflow):.0f} s"
            case "disk full":
                services.fill_disk()
                return f"for {self._later_on(kind, _SECONDS_FULL, services.clear_disk):.0f} s"
            case _:
                second = attempt.second
                if second.process is not None:
                    return ""
                second.file = attempt.file.with_suffix(".second.txt")
                second.process = attempt.start(second.file)
                return f"process {second.process.pid}, the same command"

    def _s3_back(self) -> None:
        self._services.proxy.rule = lambda _: None

    def _later_on(self, kind: str, between: tuple[float, float], end: Callable[[], Future | None]) -> float:
        seconds = self._random.uniform(*between)
        self._later.append((time.monotonic() + seconds, kind, end))
        return seconds

    def _draw(self, least: float, most: float) -> float:
        return time.monotonic() + self._random.uniform(least, most)

    def _bag(self) -> Iterator[str]:
        """All kinds in some order, then again: none is left out by chance."""
        while True:
            yield from self._random.sample(KINDS, len(KINDS))
