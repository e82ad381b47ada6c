"""How many pairs are drawn for what cannot be had from sums."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Draw:
    """How many pairs are drawn at random for what is not a sum; each is a prefix of the largest."""

    sample: int
    """For optimal transport, whose cost grows with the square, and for the atoms as probes."""
    in_batches: int
    """For retrieval in the paper's batches, and the shape of the clouds."""
    queries: int
    """Pairs whose image and text are looked for in the full gallery."""
    seed: int

    def rows(self, pairs: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the drawn pairs out of `pairs`, in random order."""
        most = min(max(self.sample, self.in_batches, self.queries), pairs)
        return np.random.default_rng(self.seed).choice(pairs, most, replace=False, shuffle=True)
