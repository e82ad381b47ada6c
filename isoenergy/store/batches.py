"""Deterministic batches of pairs: the same global sequence for any number of workers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.errors import InputError


@dataclass(frozen=True)
class PairArrays:
    """Pairs in memory: row i of each array belongs to one pair."""

    keys: npt.NDArray[np.object_]
    """`(pairs,)` strings."""
    images: npt.NDArray[np.floating]
    """`(pairs, dim)` raw image embeddings, as stored."""
    texts: npt.NDArray[np.floating]
    """`(pairs, dim)` raw text embeddings, as stored."""

    def __len__(self) -> int:
        return len(self.keys)


def require_batches(pairs: int, batch_pairs: int, workers: int) -> None:
    """Raise InputError unless batches of `batch_pairs`, shared by `workers`, can be drawn from `pairs`."""
    if not 0 < batch_pairs <= pairs:
        raise InputError(
            f"a batch of {batch_pairs} pairs cannot be drawn from the {pairs} of the split; "
            f"embed more pairs or give a smaller batch"
        )
    if batch_pairs < workers:
        raise InputError(f"a batch of {batch_pairs} pairs cannot be shared by {workers} workers")


@dataclass(frozen=True)
class PairBatches:
    """Shuffled batches of `pairs`; a last, short batch is left out, so all batches are alike.

    Ray Data's own train ingest is not used: its order differs between runs, and its ranks may see different numbers
    of batches, which stops DDP for ever (ray issue 66085).
    """

    pairs: PairArrays
    batch_pairs: int
    """Pairs in a global batch, over all workers."""
    seed: int
    rank: int = 0
    """This worker's number."""
    workers: int = 1

    def __post_init__(self) -> None:
        require_batches(len(self.pairs), self.batch_pairs, self.workers)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.pairs) // self.batch_pairs

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this worker's images and texts, `(local pairs, dim)` float32 each, from `first_step` on.

        The order is a function of (seed, epoch) alone; a worker's slice is a contiguous part of the global batch.
        """
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.pairs))
        first, last = (self.batch_pairs * edge // self.workers for edge in (self.rank, self.rank + 1))
        for step in range(first_step, self.steps):
            chosen = order[step * self.batch_pairs :][first:last]
            yield _tensor(self.pairs.images[chosen]), _tensor(self.pairs.texts[chosen])


def _tensor(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32, copy=False))
