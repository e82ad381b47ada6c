"""Deterministic batches of pairs: the same global sequence for any number of workers, wherever the pairs are.

Ray Data's own train ingest is not used: its order differs between runs, and its ranks may see different numbers of
batches, which stops DDP for ever (ray issue 66085).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.settings.float_arrays import as_float_array
from isoenergy.settings.numbers import whole_number
from isoenergy.store.arrays import squared_norms
from isoenergy.store.index import PairIndex
from isoenergy.store.order import PairOrder, Positions, require_batches
from isoenergy.store.row_sources import ArrayRows, PairRows, in_pinned_memory, open_rows
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
    def widths(self) -> Sequence[int]:
        """Width of each modality, in their order."""
        ...

    @property
    def data(self) -> str:
        """What tells these pairs from others, if that is known: a run goes on with the pairs that it began with."""
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
    data: str = ""

    def __post_init__(self) -> None:
        require_batches(self.order.pairs, self.order.batch_pairs, self.workers)

    @classmethod
    def of_arrays(
        cls,
        images: np.ndarray | Tensor,
        texts: np.ndarray | Tensor,
        batch_pairs: int,
        seed: int,
        rank: int = 0,
        workers: int = 1,
    ) -> "PairBatches":
        """Return batches of pairs in memory, `(pairs, width)` floats each, shuffled as a whole.

        Raises InputError, naming argument, row and remedy, for what no store would hold: another shape or type, arrays
        of different length, and rows that are zero or not finite.
        """
        batch_pairs = whole_number("batch_pairs", batch_pairs, 1)
        arrays = {name: usable_vectors(name, given) for name, given in (("images", images), ("texts", texts))}
        rows = ArrayRows(dict(zip(("image", "text"), arrays.values(), strict=True)))
        order = PairOrder(np.array([0, len(images)]), batch_pairs, seed, window_pairs=len(images))
        return cls(order, rows, rank, workers, data=f"{_digest(arrays.values())} in order {seed}")

    @classmethod
    def of_index(cls, index: PairIndex, batch_pairs: int, seed: int, rank: int = 0, workers: int = 1) -> "PairBatches":
        """Return batches of an index's pairs, read into this process's memory."""
        rows = open_rows(index, "memory", torch.device("cpu"), NodeGroup())
        order = PairOrder(index.starts, batch_pairs, seed)
        return cls(order, rows, rank, workers, data=f"{index.fingerprint} {index.split} {len(index)} in order {seed}")

    @property
    def widths(self) -> Sequence[int]:
        """Width of each modality, in their order."""
        return list(self.rows.widths.values())

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
        for tensors in _ahead(self._taken, self._portions(epoch, first_step)):
            yield from zip(*tensors, strict=True)

    def unshared(self) -> "PairBatches":
        """Return the whole global batches, as one worker alone sees them."""
        return replace(self, rank=0, workers=1)

    def _taken(self, positions: Positions) -> list[Tensor]:
        return [in_pinned_memory(tensor) for tensor in self.rows.take(positions).values()]

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
    def widths(self) -> Sequence[int]:
        """Width of each modality, in their order."""
        return [width for part in self.parts for width in part.widths]

    @property
    def data(self) -> str:
        """What tells these rows from others, if that is known of all."""
        known = [part.data for part in self.parts]
        return " ".join(known) if all(known) else ""

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


def usable_vectors(name: str, given: np.ndarray | Tensor) -> np.ndarray:
    """Return vectors as an array; raises InputError, naming the row, for what no store would hold."""
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        given = (given.float() if given.dtype == torch.bfloat16 else given).numpy()  # numpy has no bfloat16
    try:
        array = as_float_array(given)
    except ValueError as error:
        raise InputError(f"{name} must be (pairs, width) floats: {error}") from error
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} must be (pairs, width) floats, got {array.dtype} of shape {array.shape}")
    squares = squared_norms(array)
    for bad, kind in ((~np.isfinite(squares), "not finite"), (squares == 0, "zero")):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            is_number = np.isfinite(array[row]).all() and array[row].any()
            what = kind if not is_number else "too small" if squares[row] == 0 else "too large"
            more = f", and so are {bad.sum() - 1} more" * bool(bad.sum() > 1)
            raise InputError(
                f"row {row} of {name} is {what}{more}: it cannot be normalised; leave such pairs out of both arrays"
            )
    return array


def _digest(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


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
