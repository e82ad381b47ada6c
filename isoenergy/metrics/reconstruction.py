"""How well the codes rebuild the embeddings (paper 1.6)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from isoenergy.statistics.sums import MergeableSums

_PAPER_FLOOR = 1e-6


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
        self.rows += len(x)
        self.first += x.double().sum(0).cpu().numpy()
        self.second += float(x.double().square().sum())
        self.squared_error += float(residual.double().square().sum())


def mean_squared_error(image: ReconstructionSums, text: ReconstructionSums) -> float:
    """Return the mean over images and texts of a row's summed squared error; in [0, 1] for unit rows (paper, table)."""
    return (image.squared_error + text.squared_error) / max(image.rows + text.rows, 1)


def r2_paper(*modalities: ReconstructionSums) -> float:
    """Return R² against the scalar mean of all entries, by modality, averaged by rows; at most 1 (paper 1.6).

    The scalar mean of an embedding is close to 0, so this is about 1 - MSE for unit rows.
    """

    def one(sums: ReconstructionSums) -> float:
        entries = max(sums.rows * len(sums.first), 1)
        scalar_mean = sums.first.sum() / entries
        return 1 - (sums.squared_error / entries) / (sums.second / entries - scalar_mean**2 + _PAPER_FLOOR)

    return sum(one(sums) * sums.rows for sums in modalities) / max(sum(sums.rows for sums in modalities), 1)


def r2_centred(image: ReconstructionSums, text: ReconstructionSums) -> float:
    """Return R² against each feature's mean in its modality, averaged by rows; at most 1.

    The modality means carry much of the norm, so it is clearly below `r2_paper`.
    """

    def one(sums: ReconstructionSums) -> float:
        variance = sums.second - float(np.square(sums.first).sum()) / max(sums.rows, 1)
        return 1 - sums.squared_error / variance if variance > 0 else float("nan")

    return _by_rows(one(image), one(text), image.rows, text.rows)


def _by_rows(image: float, text: float, images: int, texts: int) -> float:
    return (image * images + text * texts) / max(images + texts, 1)
