"""The order in which training sees the pairs: a function of (seed, epoch), whatever the number of workers.

An epoch shuffles the shards and lays them end to end in a ring, which it opens anywhere: what a short last batch leaves
out differs. Lanes cut this line into equal stretches, and a batch takes the next few pairs of each lane: neighbours in
a batch come from far apart. A window of some steps is what is in memory; in it each lane's pairs are shuffled. So a
worker, whose share of a batch is a stretch of it, needs the shards of its own lanes only, one after the other; those
that the edge of a window or of a lane cuts are needed twice.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoenergy.errors import InputError

Positions = npt.NDArray[np.int64]
_LANES = 16


def require_batches(pairs: int, batch_pairs: int, workers: int) -> None:
    """Raise InputError unless batches of `batch_pairs`, shared by `workers`, can be drawn from `pairs`."""
    if not 0 < batch_pairs <= pairs:
        raise InputError(
            f"a batch of {batch_pairs} pairs cannot be drawn from the {pairs} of the split; "
            f"it takes more pairs, or a smaller batch_pairs (--batch-pairs)"
        )
    if batch_pairs < workers:
        raise InputError(
            f"a batch of {batch_pairs} pairs cannot be shared by {workers} workers; give fewer --workers or more "
            f"--batch-pairs"
        )


def numbers_along(starts: Positions, shards: Positions, line: Positions) -> Positions:
    """Return the numbers of the pairs at some places of the line in which shards, in some order, lie end to end.

    starts: `(shards + 1,)` number of each shard's first pair.
    """
    sizes = np.diff(starts)[shards]
    ends = np.cumsum(sizes)
    place = np.searchsorted(ends, line, side="right")
    numbers: Positions = starts[shards[place]] + line - (ends - sizes)[place]
    return numbers


@dataclass(frozen=True)
class PairOrder:
    """Batches of pairs, by their number in the index; the pairs of a last, short batch are left out of an epoch."""

    starts: Positions
    """`(shards + 1,)` number of each shard's first pair; see `PairIndex.starts`."""
    batch_pairs: int
    """Pairs in a global batch, over all workers."""
    seed: int
    window_pairs: int = 2**17
    """Pairs among which the order is random: what is in memory at a time, over all workers."""

    def __post_init__(self) -> None:
        require_batches(self.pairs, self.batch_pairs, 1)

    @property
    def pairs(self) -> int:
        """Those of all shards, also of a last, short batch."""
        return int(self.starts[-1])

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.pairs // self.batch_pairs

    @property
    def window_steps(self) -> int:
        """Batches in a window."""
        return max(1, self.window_pairs // self.batch_pairs)

    def window(self, epoch: int, number: int, first: int, last: int) -> Positions:
        """Return the pairs numbered `first` to `last` of each batch of a window, `(steps, last - first)`."""
        begin = number * self.window_steps
        steps = min(self.window_steps, self.steps - begin)
        random = np.random.default_rng((self.seed, epoch))
        shards = random.permutation(len(self.starts) - 1)
        opening = random.integers(self.pairs)
        edges = self._lane_edges()
        columns = []
        for lane, (low, high) in enumerate(itertools.pairwise(edges)):
            if high <= first or low >= last:
                continue
            line = np.arange(begin * (high - low), (begin + steps) * (high - low)) + self.steps * low
            shuffled = np.random.default_rng((self.seed, epoch, number, lane)).permutation(line)
            columns.append(shuffled.reshape(steps, high - low)[:, max(first - low, 0) : last - low])
        line = (np.concatenate(columns, axis=1) + opening) % self.pairs
        return numbers_along(self.starts, shards, line)

    def _lane_edges(self) -> list[int]:
        """Where each lane's pairs stand in a batch."""
        lanes = min(_LANES, self.batch_pairs)
        return [self.batch_pairs * lane // lanes for lane in range(lanes + 1)]
