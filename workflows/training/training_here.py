"""Training in this process alone, without Ray: for tests, notebooks and debuggers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tqdm import tqdm

from isoenergy.errors import InputError
from workflows.cluster.progress import Bar
from workflows.training.training_engine import Progress, Seat
from workflows.training.training_placement import TrainingPlacement, Workers


class TrainingHere:
    """A `TrainingEngine` of one worker: this process, with all of its threads and the device there is."""

    def place(self, workers: Workers) -> TrainingPlacement:
        """Refuse more than one worker."""
        if workers.fewest > 1:
            raise InputError(f"one process is one worker, got {workers}; give --workers 1 or auto")
        return TrainingPlacement(1, 1, torch.get_num_threads(), torch.cuda.is_available())

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what `function(*task)` returns, one after the other."""
        return (function(*task) for task in tasks)

    def once(self, function: Callable[..., Any], *arguments: Any, cpus: int, gpus: float) -> Any:
        """Return what `function(*arguments)` returns on what this process has."""
        del cpus, gpus
        return function(*arguments)

    @contextmanager
    def progress(self, what: str, unit: str) -> Iterator[Progress]:
        """Open a bar."""
        with tqdm(desc=what, unit=f" {unit}") as bar:
            yield Bar(what, bar)

    def train(self, work: Callable[[Seat], None], placement: TrainingPlacement, output: str) -> None:
        """Call `work`."""
        del output
        work(Seat(0, 1, torch.device("cuda" if placement.gpu else "cpu")))
