"""What runs the units of `isoenergy apply`: Ray, or this process, one after the other."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import ray
import ray.exceptions
import torch
from torch import Tensor

from isoenergy.applying.application import read_only
from workflows.applying.applying_placement import ApplyingPlacement
from workflows.applying.applying_units import UnitOutcome, UnitTask, UnitWork
from workflows.cluster import engine
from workflows.cluster.gpu import given_device, require_usable_gpus
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Pending, Waiting, result_of, waiting_tasks

_TIMES_TRIED = 5
_IN_FLIGHT = 1000
"""Tasks that Ray knows of at a time; looking after each takes time and memory of the driver."""
_SECONDS_BETWEEN_LOOKS = 1.0
_LOST = (
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
)
Grams = Mapping[str, Tensor | None]
Bundle = Sequence[UnitTask]
Report = Callable[[list[UnitOutcome]], None]
Found = TypeVar("Found")


class ApplyingEngine(Protocol):
    """Does units, and what comes before them."""

    def place(self, workers: int | None, gpus_per_worker: float) -> ApplyingPlacement:
        """Return what a run takes; raises InputError if there is no room for one worker."""
        ...

    def call(self, function: Callable[[], Found]) -> Found:
        """Return what a function comes to."""
        ...

    def run(self, work: UnitWork, bundles: Sequence[Bundle], rows: int, report: Report) -> None:
        """Do the units of all bundles; `report` takes what became of those of each; what it raises ends the run.

        rows: how many rows of a modality that are.
        """
        ...


class ApplyingHere:
    """The engine of this process and its CPUs, without Ray."""

    def place(self, workers: int | None, gpus_per_worker: float) -> ApplyingPlacement:
        """Return the one worker that there is."""
        del workers, gpus_per_worker
        return ApplyingPlacement(1, 1, 0.0)

    def call(self, function: Callable[[], Found]) -> Found:
        """Call it."""
        return function()

    def run(self, work: UnitWork, bundles: Sequence[Bundle], rows: int, report: Report) -> None:
        """Do the bundles one after the other."""
        grams = work.application.grams(rows)
        for bundle in bundles:
            report(work(bundle, grams))


class ApplyingOnRay:
    """The engine of a cluster, or of one machine's cores: plain tasks, which an autoscaler sees wait."""

    def __init__(self, patience: float = 60 * PATIENCE_MINUTES) -> None:
        """`patience`: seconds that work may wait for room."""
        self._patience = patience
        self._placement: ApplyingPlacement | None = None

    def place(self, workers: int | None, gpus_per_worker: float) -> ApplyingPlacement:
        """Connect to Ray, and fit the run to what it has."""
        engine.connect(patience=self._patience)
        self._placement = ApplyingPlacement.fit(workers, gpus_per_worker)
        if gpus_per_worker:
            require_usable_gpus()
        return self._placement

    def call(self, function: Callable[[], Found]) -> Found:
        """Call it on a worker, which has what the workers of the run will have."""
        options, bundle = self._options(), self._bundle()
        task: Any = ray.remote(**options)(_call)
        found: Found = result_of(task.remote(function), waiting_tasks("apply", self._patience, bundle))
        return found

    def run(self, work: UnitWork, bundles: Sequence[Bundle], rows: int, report: Report) -> None:
        """Do the bundles in as many workers as the placement has.

        On CPUs the Gram matrix is made once, and is an object of Ray's: the workers of a node map one copy of it.
        """
        assert self._placement is not None
        stopped, finished = threading.Event(), 0
        pending = Pending(self._bundle())
        seen: list[int] = []
        most = self._placement.at_once(_IN_FLIGHT)

        def waits() -> str:
            if seen != [finished]:
                seen[:] = [finished]
                return ""
            count = pending.count()
            return pending.text(count) if count else ""

        def run() -> None:
            nonlocal finished
            held = ray.put(work)
            on_gpu = self._bundle()["GPU"] > 0
            grams = None if on_gpu else ray.remote(**self._options())(_grams).remote([held], rows)
            task: Any = ray.remote(**self._options())(_do)
            left, running = deque(bundles), dict[Any, Bundle]()
            try:
                while (left or running) and not stopped.is_set():
                    while left and len(running) < most:
                        bundle = left.popleft()
                        running[task.remote([held], grams, rows, bundle)] = bundle
                    for done in ray.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS)[0]:
                        report(_outcomes(done, running.pop(done)))
                        finished += 1
            finally:
                for each in running:
                    ray.cancel(each)

        with storage_watched(work.writer.uri):
            try:
                engine.interruptibly(run, Waiting("apply", self._patience, waits).look)
            finally:
                stopped.set()

    def _bundle(self) -> dict[str, float]:
        assert self._placement is not None
        return {"CPU": 1.0, "GPU": self._placement.gpus_per_worker}

    def _options(self) -> dict[str, Any]:
        bundle = self._bundle()
        return {"num_cpus": bundle["CPU"], "num_gpus": bundle["GPU"], "max_retries": _TIMES_TRIED - 1}


def _outcomes(done: Any, bundle: Bundle) -> list[UnitOutcome]:
    try:
        outcomes: list[UnitOutcome] = ray.get(done)
    except _LOST as error:
        why = str(error).strip().splitlines()[0]
        return [
            UnitOutcome(
                task.record.unit,
                error=f"{task.record.unit}: its process or node was lost each of the {_TIMES_TRIED} times ({why})",
            )
            for task in bundle
        ]
    return outcomes


def _call(function: Callable[[], Found]) -> Found:
    return function()


def _grams(held: list[Any], rows: int) -> dict[str, Any]:
    """Return the Gram matrices as Ray shares them: whole arrays, rows padded as the pursuit wants them."""
    torch.set_num_threads(1)
    work: UnitWork = ray.get(held[0])
    shared: dict[int, Any] = {}
    found = {}
    for modality, gram in work.application.grams(rows).items():
        if gram is not None and id(gram) not in shared:
            padded = gram.as_strided((len(gram), gram.stride(0)), (gram.stride(0), 1))
            shared[id(gram)] = padded.numpy()
        found[modality] = None if gram is None else shared[id(gram)]
    return found


def _do(held: list[Any], grams: dict[str, Any] | None, rows: int, tasks: Bundle) -> list[UnitOutcome]:
    """Do some units on a worker."""
    work, own = _held(held[0], rows if grams is None else None)
    if grams is None:
        return work(tasks, own)
    shared = {name: None if array is None else read_only(array)[:, : len(array)] for name, array in grams.items()}
    return work(tasks, shared)


@lru_cache(maxsize=1)
def _held(work: Any, rows: int | None) -> tuple[UnitWork, Grams]:
    """Return the work, on what Ray has given to this worker; and on a GPU, whose matrix nobody else has, its own."""
    torch.set_num_threads(1)  # a worker has one CPU
    pa.set_cpu_count(1)
    on = ray.get(work).on(given_device(bool(ray.get_gpu_ids())))
    return on, ({} if rows is None else on.application.grams(rows))
