"""Pairs of a store in memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
