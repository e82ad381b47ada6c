"""Pairs of a store in memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


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


def embedding_rows(column: pa.ChunkedArray, dim: int) -> npt.NDArray[np.floating]:
    """Return a column of embeddings as `(pairs, dim)`, as stored."""
    flat: npt.NDArray[np.floating] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, dim)
