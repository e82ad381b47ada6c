"""Training on a Ray cluster: data-parallel workers of Ray Train, tasks for what can be done beside each other."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch

from isoenergy.errors import InputError, one_line
from workflows.cluster import engine
from workflows.cluster.gpu import require_usable_gpus
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.progress import remote_progress
from workflows.cluster.ray_storage import ray_storage
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Pending, Waiting, result_of, waiting_tasks
from workflows.command import causes
from workflows.training.training_engine import Progress, Seat, WorkersLostError
from workflows.training.training_placement import TrainingPlacement, Workers

_TASKS_AT_ONCE = 64
_LONGEST_REASON = 200


class RayTraining:
    """A `TrainingEngine`: the cluster that this process belongs to, or a Ray that is started on this machine."""

    def __init__(self, patience: float = 60 * PATIENCE_MINUTES) -> None:
        """`patience`: seconds that work may wait for room."""
        self._patience = patience

    def place(self, workers: Workers) -> TrainingPlacement:
        """Connect to Ray, and lay workers out on the cluster."""
        engine.connect(patience=self._patience)
        placement = TrainingPlacement.fit(workers)
        if placement.gpu:
            require_usable_gpus()
        return placement

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what `function(*task)` returns, in order; each is a task of one CPU, repeated if its worker is lost."""
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
        run: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(function)
        return result_of(run.remote(*arguments), waiting_tasks("train", self._patience, {"CPU": cpus, "GPU": gpus}))

    def progress(self, what: str, unit: str) -> AbstractContextManager[Progress]:
        """Open a bar here that workers anywhere move."""
        return remote_progress(what, unit)

    def train(self, work: Callable[[Seat], None], placement: TrainingPlacement, output: str) -> None:
        """Call `work` in the workers of one run of Ray Train.

        Checkpoints are ours, not Ray's: whole on any storage, with or without an engine. So is the decision to start
        again: Ray would also repeat a run that input has made impossible.
        """
        with ray_storage(f"{output}/.ray") as (filesystem, root):
            self._fit(work, placement, output, pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)), root)

    def _fit(
        self,
        work: Callable[[Seat], None],
        placement: TrainingPlacement,
        output: str,
        filesystem: pyarrow.fs.FileSystem,
        root: str,
    ) -> None:
        try:
            trainer = ray.train.torch.TorchTrainer(
                _in_a_worker,
                train_loop_config={"work": work},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=placement.num_workers,  # type: ignore[arg-type]  # a pair is elastic
                    use_gpu=placement.gpu,
                    resources_per_worker=placement.resources,
                    placement_strategy="SPREAD" if placement.cpus > 1 else "PACK",
                ),
                run_config=ray.train.RunConfig(
                    name=uuid.uuid4().hex,
                    storage_path=root,
                    storage_filesystem=filesystem,
                    failure_config=ray.train.FailureConfig(max_failures=0),
                ),
            )
            pending = Pending(placement.resources)

            def waits() -> str:
                count = pending.count()
                there = max(placement.fewest - count, 0)
                return f"{pending.text(count)} ({there} of {placement.fewest} workers are there)" if count else ""

            waiting = Waiting("train", self._patience, waits)
            with storage_watched(output):
                engine.interruptibly(trainer.fit, waiting.look)
        except ray.train.TrainingFailedError as error:
            if any(isinstance(cause, InputError) for cause in causes(error)):
                raise
            if placement.gpu:
                require_usable_gpus()  # a node that has joined since may be what failed
            raise WorkersLostError(_in_brief(error)) from error


def _in_a_worker(settings: dict[str, Any]) -> None:
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    context = ray.train.get_context()
    settings["work"](Seat(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device()))


def _in_brief(error: BaseException) -> str:
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    return one_line(failures[0], _LONGEST_REASON)
