"""How well the codes rebuild the embeddings (paper 1.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from isoenergy.statistics.sums import MergeableSums

Floats = npt.NDArray[np.float64]
Number = TypeVar("Number", float, Floats)
_Given = TypeVar("_Given", float, Floats, covariant=True)

VARIANCE_FLOOR = 1e-6
"""Added to variances before errors are divided by them, as the paper's code does."""


class RowErrors(Protocol[_Given]):
    """Sums over the rows of one modality: numbers, or `(1 + replicates,)` under weights."""

    @property
    def rows(self) -> _Given:
        """How many rows."""

    @property
    def entries(self) -> _Given:
        """How many numbers they hold."""

    @property
    def total(self) -> _Given:
        """Sum of these."""

    @property
    def second(self) -> _Given:
        """Sum of their squares."""

    @property
    def squared_error(self) -> _Given:
        """Sum of the squares of x - reconstruction."""


@dataclass
class ReconstructionSums(MergeableSums):
    """Mergeable sums over the rows of one modality, from which the errors follow."""

    rows: int
    first: npt.NDArray[np.float64]
    """`(dim,)` sum of x."""
    second: float
    """Sum over all entries of x²."""
    squared_error: float
    """Sum over all entries of (x - reconstruction)²."""

    @classmethod
    def zeros(cls, dim: int) -> Self:
        """Return the sums of no rows."""
        return cls(0, np.zeros(dim), 0.0, 0.0)

    def update(self, x: Tensor, residual: Tensor) -> None:
        """Add rows: `x` and `residual` = x - reconstruction, both `(batch, dim)`."""
        from isoenergy.statistics.row_moments import RowMoments  # numba takes a second to load

        moments = RowMoments.of(x)
        self.rows += len(x)
        self.first += moments.columns
        self.second += float(moments.squares.sum())
        self.squared_error += float(RowMoments.of(residual).squares.sum())

    @property
    def entries(self) -> int:
        """How many numbers the rows hold."""
        return self.rows * len(self.first)

    @property
    def total(self) -> float:
        """Sum over all entries of x."""
        return float(self.first.sum())


def mean_squared_error(*modalities: RowErrors[Number]) -> Number:
    """Return the mean over all rows of a row's summed squared error; in [0, 1] for unit rows (paper 1.6)."""
    rows = _sum([sums.rows for sums in modalities])
    error: Number = _sum([sums.squared_error for sums in modalities]) / np.maximum(rows, 1)
    return error


def r2_paper(*modalities: RowErrors[Number]) -> Number:
    """Return R² against the scalar mean of all entries, by modality, averaged by rows; at most 1 (paper 1.6).

    The scalar mean of an embedding is close to 0, so this is about 1 - MSE for unit rows.
    """
    by_modality = [r2_of_sums(sums.squared_error, sums.entries, sums.total, sums.second) for sums in modalities]
    rows = [sums.rows for sums in modalities]
    r2: Number = _sum([r2 * count for r2, count in zip(by_modality, rows, strict=True)]) / np.maximum(_sum(rows), 1)
    return r2


def r2_of_sums(squared_error: Number, entries: Number, total: Number, squares: Number) -> Number:
    """Return the R² of `r2_paper` for one modality from sums over all entries of its rows, of any one shape.

    squared_error, squares: of the squared errors and of the squared entries; total: of the entries; entries: how many.
    """
    count = np.maximum(entries, 1)
    variance = squares / count - (total / count) ** 2
    r2: Number = 1 - (squared_error / count) / (variance + VARIANCE_FLOOR)
    return r2


def r2_centred(image: ReconstructionSums, text: ReconstructionSums) -> float:
    """Return R² against each feature's mean in its modality, averaged by rows; at most 1.

    The modality means carry much of the norm, so it is clearly below `r2_paper`.
    """

    def one(sums: ReconstructionSums) -> float:
        variance = sums.second - float(np.square(sums.first).sum()) / max(sums.rows, 1)
        return 1 - sums.squared_error / variance if variance > 0 else float("nan")

    return (one(image) * image.rows + one(text) * text.rows) / max(image.rows + text.rows, 1)


def r2_of_means(image: ReconstructionSums, text: ReconstructionSums) -> float:
    """Return the R² of `r2_paper` that each modality's mean alone has, put in place of every row; in [0, 1].

    What of the paper's R² is the modalities' cones, and says nothing about any row.
    """

    def one(sums: ReconstructionSums) -> float:
        left = sums.second - float(np.square(sums.first).sum()) / max(sums.rows, 1)
        return r2_of_sums(left, float(sums.entries), sums.total, sums.second)

    return (one(image) * image.rows + one(text) * text.rows) / max(image.rows + text.rows, 1)


def _sum(parts: Sequence[Number]) -> Number:
    first, *others = parts
    for part in others:
        first = first + part
    return first
