"""Sparse codes as numpy arrays, for those who have theirs in numpy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class NumpyCodes:
    """Which atoms make up each row, and how strongly.

    indices: `(batch, k)` int32, the atom chosen in each round. An atom may repeat in a row: its values add.
    values: `(batch, k)`, the coefficient of each round.
    residual: `(batch, dim)`, what is left of the prepared row after the last round.
    """

    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.floating]
    residual: npt.NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.indices)
