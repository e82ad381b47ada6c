"""Sums of rows and of their squares, in one pass that converts nothing; its kernel is numba's, a second to load."""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.compiling.compiled import compiled

Floats = npt.NDArray[np.float64]


class RowMoments(NamedTuple):
    """Float64 sums over the entries of `(n, dim)` rows."""

    totals: Floats
    """`(n,)` sum of a row's entries."""
    squares: Floats
    """`(n,)` sum of their squares."""
    columns: Floats
    """`(dim,)` sum over rows."""

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """Sum floating point rows on any device."""
        plain = rows.detach().cpu().contiguous()
        plain = plain if plain.dtype == torch.float64 else plain.float()
        moments = cls(np.empty(len(plain)), np.empty(len(plain)), np.zeros(plain.shape[1]))
        _sum_rows(plain.numpy(), *moments)
        return moments


@compiled
def _sum_rows(rows, totals, squares, columns):  # type: ignore[no-untyped-def]  # numba finds the types
    for row in range(rows.shape[0]):
        total, square = 0.0, 0.0
        for column in range(rows.shape[1]):
            entry = np.float64(rows[row, column])
            total += entry
            square += entry * entry
            columns[column] += entry
        totals[row], squares[row] = total, square
