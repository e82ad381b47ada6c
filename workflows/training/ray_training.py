"""Training on a Ray cluster: data-parallel workers of Ray Train, tasks for what can be done beside each other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import ray
import ray.train

from isoenergy.errors import InputError, one_line
from workflows.cluster import engine
from workflows.cluster.gpu import require_usable_gpus
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.progress import remote_progress
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Pending, Waiting, result_of, waiting_tasks
from workflows.command import causes
from workflows.training.kept_workers import KeptWorkers
from workflows.training.training_engine import Progress, Seat, WorkersLostError
from workflows.training.training_placement import TrainingPlacement, Workers

_TASKS_AT_ONCE = 64
_LONGEST_REASON = 200


class RayTraining:
    """A `TrainingEngine`: the cluster that this process belongs to, or a Ray that is started on this machine."""

    def __init__(self, patience: float = 60 * PATIENCE_MINUTES) -> None:
        """`patience`: seconds that work may wait for room."""
        self._patience = patience
        self._keeps = False
        self._kept: KeptWorkers | None = None

    def place(self, workers: Workers) -> TrainingPlacement:
        """Connect to Ray, and lay workers out on the cluster."""
        engine.connect(patience=self._patience)
        placement = TrainingPlacement.fit(workers)
        if placement.gpu and self._kept is None:  # else they are in use
            require_usable_gpus()
        return placement

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what `function(*task)` returns, in order; each is a task of one CPU, repeated if its worker is lost."""
        if tasks:
            self._end_kept()
        run: Any = ray.remote(num_cpus=1, max_retries=3)(function)
        waiting = waiting_tasks("train", self._patience, {"CPU": 1})
        pending: list[Any] = []
        for task in tasks:
            if len(pending) == _TASKS_AT_ONCE:
                yield result_of(pending.pop(0), waiting)
            pending.append(run.remote(*task))
        for reference in pending:
            yield result_of(reference, waiting)

    def once(self, function: Callable[..., Any], *arguments: Any, cpus: int, gpus: float) -> Any:
        """Return what `function(*arguments)` returns as a task with these resources."""
        self._end_kept()
        run: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(function)
        return result_of(run.remote(*arguments), waiting_tasks("train", self._patience, {"CPU": cpus, "GPU": gpus}))

    def progress(self, what: str, unit: str) -> AbstractContextManager[Progress]:
        """Open a bar here that workers anywhere move."""
        return remote_progress(what, unit)

    @contextmanager
    def keeping_workers(self) -> Iterator[None]:
        """Let the workers of one training do the next of the body too, if it is placed alike.

        They keep what they are given until the body ends, or there is other work for it.
        """
        self._keeps = True
        try:
            yield
        except KeyboardInterrupt:
            self._kept = None  # whoever stops the program waits for nobody
            raise
        finally:
            self._keeps = False
            self._end_kept()

    def train(self, work: Callable[[Seat], None], placement: TrainingPlacement, output: str) -> None:
        """Call `work` in the workers of a run of Ray Train."""
        if self._kept is not None and self._kept.placement != placement:
            self._end_kept()
        workers, self._kept = self._kept or KeptWorkers(placement, output), None
        pending = Pending(placement.resources)

        def waits() -> str:
            count = pending.count()
            there = max(placement.fewest - count, 0)
            return f"{pending.text(count)} ({there} of {placement.fewest} workers are there)" if count else ""

        waiting = Waiting("train", self._patience, waits)
        try:
            with storage_watched(output):
                engine.interruptibly(partial(workers.do, work), waiting.look)
        except BaseException as error:
            workers.give_up(error)
            if isinstance(error, ray.train.TrainingFailedError | ray.exceptions.RayActorError):
                self._raise_failure(error, placement)
            raise
        self._kept = workers
        if not self._keeps:
            self._end_kept()

    def _raise_failure(self, error: Exception, placement: TrainingPlacement) -> None:
        """Raise WorkersLostError, unless it was input that failed."""
        if any(isinstance(cause, InputError) for cause in causes(error)):
            return
        if placement.gpu:
            require_usable_gpus()  # a node that has joined since may be what failed
        raise WorkersLostError(_in_brief(error)) from error

    def _end_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.end()


def _in_brief(error: BaseException) -> str:
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    return one_line(failures[0], _LONGEST_REASON)
