"""Workers of one run of Ray Train that do one piece of work after the other: what starts them is paid once."""

import gc
import os
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, suppress
from typing import Any

import pyarrow.fs
import ray
import ray.train
import ray.train.torch
import torch

from workflows.cluster.beside_driver import beside_driver
from workflows.cluster.ray_storage import ray_storage
from workflows.training.desk import Desk
from workflows.training.training_engine import Seat
from workflows.training.training_placement import TrainingPlacement

_BEFORE_ALL = -1


class KeptWorkers:
    """A run of Ray Train that goes on until `end`, or until one of its workers fails.

    Checkpoints are ours, not Ray's: whole on any storage, with or without an engine. So is the decision to start
    again: Ray would also repeat a run that input has made impossible.
    """

    def __init__(self, placement: TrainingPlacement, output: str) -> None:
        """Start the workers; does not wait for them."""
        self.placement = placement
        self._desk = beside_driver(Desk)
        self._storage = ExitStack()
        filesystem, root = self._storage.enter_context(ray_storage(f"{output}/.ray"))
        self._fitted: Future[None] = Future()
        trainer = ray.train.torch.TorchTrainer(
            _in_a_worker,
            train_loop_config={"desk": self._desk},
            scaling_config=ray.train.ScalingConfig(
                num_workers=placement.num_workers,  # type: ignore[arg-type]  # a pair is elastic
                use_gpu=placement.gpu,
                resources_per_worker=placement.resources,
                placement_strategy="SPREAD" if placement.cpus > 1 else "PACK",
            ),
            run_config=ray.train.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=root,
                storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
                failure_config=ray.train.FailureConfig(max_failures=0),
            ),
        )
        threading.Thread(target=self._fit, args=[trainer], daemon=True).start()

    def do(self, work: Callable[[Seat], None]) -> None:
        """Have all workers call `work`, to the end.

        Raises `ray.train.TrainingFailedError` for what it raised, and if a worker is lost; the others are gone then.
        """
        done = self._desk.give.remote([ray.put(work)]).future()
        wait([done, self._fitted], return_when=FIRST_COMPLETED)
        if self._fitted.done():
            self._fitted.result()
        done.result()

    def end(self) -> None:
        """Let the workers go, and wait until they have; one that was lost after its work is no loss."""
        with self._storage, suppress(ray.exceptions.RayActorError, ray.train.TrainingFailedError):
            ray.get(self._desk.end.remote())
            self._fitted.result()

    def give_up(self, error: BaseException) -> None:
        """Leave the run to itself: it has failed with `error`, or is not waited for."""
        self._storage.__exit__(type(error), error, error.__traceback__)

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self._fitted.set_exception(error)
        else:
            self._fitted.set_result(None)


def _in_a_worker(settings: dict[str, Any]) -> None:
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    context = ray.train.get_context()
    seat = Seat(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())
    desk, number = settings["desk"], _BEFORE_ALL
    while (taken := ray.get(desk.take.remote(number))) is not None:
        number, (work,) = taken
        ray.get(work)(seat)
        gc.collect()  # what holds the rows of one training is gone before the next reads its own
        ray.get(desk.done.remote(number, seat.rank, seat.workers))
