"""Deterministic batches of pairs: the same global sequence for any number of workers, wherever the pairs are.

Ray Data's own train ingest is not used: its order differs between runs, and its ranks may see different numbers of
batches, which stops DDP for ever (ray issue 66085).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.store.index import PairIndex
from isoenergy.store.order import PairOrder, Positions, require_batches
from isoenergy.store.row_sources import ArrayRows, PairRows, open_rows
from isoenergy.store.wrong_texts import WrongTextOrder

Item = TypeVar("Item")


class Batches(Protocol):
    """What the training loop reads."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        ...

    @property
    def batch_pairs(self) -> int:
        """Pairs in a global batch, over all workers."""
        ...

    @property
    def workers(self) -> int:
        """Among how many workers each batch is shared."""
        ...

    @property
    def paired(self) -> bool:
        """Whether row i of all modalities are of one pair: a true one, or a shuffled one."""
        ...

    @property
    def null(self) -> bool:
        """Whether pairs are shuffled: each image has the text of another."""
        ...

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield this worker's share of each batch from `first_step` on: `(local pairs, width)` a modality, as stored.

        The modalities come in their order: images and texts, say.
        """
        ...

    def unshared(self) -> "Batches":
        """Return the whole global batches, as one worker alone sees them."""
        ...


@dataclass(frozen=True)
class PairBatches:
    """Shuffled batches of pairs. A worker's share is a contiguous part of each; shares differ by at most one pair."""

    order: PairOrder
    rows: PairRows
    rank: int = 0
    """This worker's number."""
    workers: int = 1
    paired: bool = True
    null: bool = False

    def __post_init__(self) -> None:
        require_batches(int(self.order.starts[-1]), self.order.batch_pairs, self.workers)

    @classmethod
    def of_arrays(
        cls, images: np.ndarray, texts: np.ndarray, batch_pairs: int, seed: int, rank: int = 0, workers: int = 1
    ) -> "PairBatches":
        """Return batches of pairs in memory, `(pairs, dim)` each, shuffled as a whole."""
        order = PairOrder(np.array([0, len(images)]), batch_pairs, seed, window_pairs=len(images))
        return cls(order, ArrayRows({"image": images, "text": texts}), rank, workers)

    @classmethod
    def of_index(cls, index: PairIndex, batch_pairs: int, seed: int, rank: int = 0, workers: int = 1) -> "PairBatches":
        """Return batches of an index's pairs, read into this process's memory."""
        rows = open_rows(index, "memory", torch.device("cpu"), NodeGroup())
        return cls(PairOrder(index.starts, batch_pairs, seed), rows, rank, workers)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.order.steps

    @property
    def batch_pairs(self) -> int:
        """Pairs in a global batch."""
        return self.order.batch_pairs

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield this worker's share of each batch from `first_step` on; what comes next is read meanwhile."""
        for portion in _ahead(self.rows.take, self._portions(epoch, first_step)):
            tensors = [tensor.pin_memory() if _pins(tensor) else tensor for tensor in portion.values()]
            yield from zip(*tensors, strict=True)

    def unshared(self) -> "PairBatches":
        """Return the whole global batches, as one worker alone sees them."""
        return replace(self, rank=0, workers=1)

    def _portions(self, epoch: int, first_step: int) -> Iterator[Positions]:
        """Positions of this worker's pairs, `(steps, local pairs)`, as many steps as are best taken at once."""
        first, last = (self.batch_pairs * edge // self.workers for edge in (self.rank, self.rank + 1))
        size = self.order.window_steps
        for number in range(first_step // size, -(-self.steps // size)):
            window = self.order.window(epoch, number, first, last)[max(first_step - number * size, 0) :]
            at_once = self.rows.at_once or size
            for start in range(0, len(window), at_once):
                yield window[start : start + at_once]


@dataclass(frozen=True)
class UnpairedBatches:
    """Modalities that are read apart: those of two stores, which are no pairs, or shuffled pairs of one."""

    parts: tuple[PairBatches, ...]
    """Of one modality each."""
    paired: bool = False
    null: bool = False

    def __post_init__(self) -> None:
        if len({(part.batch_pairs, part.workers) for part in self.parts}) > 1:
            raise InputError("all modalities must have batches of one size, shared by as many workers")

    @classmethod
    def shuffled(cls, order: PairOrder, *rows: PairRows, rank: int = 0, workers: int = 1) -> "UnpairedBatches":
        """Return the batches of `order` in which each image has the text of another: see `wrong_texts`.

        rows: those of each modality; of the first they come in `order`, of each other one shuffled anew.
        Raises InputError if there is but one pair.
        """
        settings = (order.starts, order.batch_pairs, order.seed, order.window_pairs)
        wrong = [WrongTextOrder(*settings, shuffle=number) for number in range(len(rows) - 1)]
        parts = (PairBatches(of, its, rank, workers) for of, its in zip((order, *wrong), rows, strict=True))
        return cls(tuple(parts), paired=True, null=True)

    @property
    def steps(self) -> int:
        """Batches in an epoch: until the smaller store has been seen."""
        return min(part.steps for part in self.parts)

    @property
    def batch_pairs(self) -> int:
        """Rows of each modality in a global batch."""
        return self.parts[0].batch_pairs

    @property
    def workers(self) -> int:
        """Among how many workers each batch is shared."""
        return self.parts[0].workers

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Yield this worker's share of each batch from `first_step` on."""
        for rows in zip(*(part.epoch(epoch, first_step) for part in self.parts), strict=False):
            yield tuple(tensor for part in rows for tensor in part)

    def unshared(self) -> "UnpairedBatches":
        """Return the whole global batches, as one worker alone sees them."""
        return replace(self, parts=tuple(part.unshared() for part in self.parts))


def _pins(tensor: Tensor) -> bool:
    return torch.cuda.is_available() and tensor.device.type == "cpu"


def _ahead(function: Callable[[Positions], Item], arguments: Iterator[Positions]) -> Iterator[Item]:
    """Yield `function` of each argument; the next is worked out meanwhile, on a thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for argument in arguments:
            following = pool.submit(function, argument)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
