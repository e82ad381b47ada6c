"""What a training runs on: a small protocol, so that what is trained, kept and reported knows no engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from workflows.training.training_placement import TrainingPlacement, Workers


class WorkersLostError(Exception):
    """Workers ended for a reason that lies outside the training: it may go on from its last checkpoint."""


@dataclass(frozen=True)
class Seat:
    """Where one of a training's workers sits among the others, all of which do the same."""

    rank: int
    workers: int
    device: torch.device


class Progress(Protocol):
    """Where workers say how far they are; it may be sent to them."""

    def set(self, done: int, total: int, text: str = "") -> None:
        """Move the bar."""

    def say(self, line: str) -> None:
        """Print a line beside it."""


class TrainingEngine(Protocol):
    """Runs functions in this process, or in processes on a cluster, to which they and their arguments are sent."""

    def place(self, workers: Workers) -> TrainingPlacement:
        """Lay workers out on what there is; raise InputError if there is no room for the fewest."""

    def each(self, function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield what `function(*task)` returns, in the order of the tasks."""

    def once(self, function: Callable[..., Any], *arguments: Any, cpus: int, gpus: float) -> Any:
        """Return what `function(*arguments)` returns on these resources."""

    def progress(self, what: str, unit: str) -> AbstractContextManager[Progress]:
        """Open a bar."""

    def train(self, work: Callable[[Seat], None], placement: TrainingPlacement, output: str) -> None:
        """Call `work` in every worker, once, to the end; a distributed one has joined the others' process group.

        output: folder or fsspec URL that all workers see. Raises what `work` raised, somewhere among the causes, and
        WorkersLostError if it was not `work` that failed.
        """
