"""Intervals for what is measured: a bootstrap over pairs, from sums that merge, without encoding anything again.

Each replicate gives every pair a Poisson(1) weight, which follows from the seed and the pair's part and place: so parts
are summed apart and added, and the memory is that of the sums, not of the rows. All that follows from first and second
moments by atom has an interval: reconstruction, energies and their shares, and the difference in means after any
removal of atoms, since decoding is linear.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from torch import Tensor

from isoenergy.codes import SparseCodes
from isoenergy.statistics import EPSILON, merged_code_matrix

Floats = npt.NDArray[np.float64]

REPLICATES = 200
_VARIANCE_FLOOR = 1e-6


@dataclass(frozen=True)
class Interval:
    """A number and where it lies in most replicates."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Floats, level: float = 0.95) -> Self:
        """Return the percentile interval of `(replicates,)` values; NaN replicates are left out."""
        known = replicates[np.isfinite(replicates)]
        if not len(known):
            return cls(float(value), float("nan"), float("nan"))
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return cls(float(value), float(low), float(high))


def poisson_weights(rows: int, replicates: int, seed: int, part: int) -> Floats:
    """Return `(rows, 1 + replicates)` weights of a part's pairs: ones, for the number itself, then Poisson(1)."""
    drawn = np.random.default_rng((seed, part)).poisson(1.0, (rows, replicates))
    return np.concatenate([np.ones((rows, 1)), drawn], axis=1)


@dataclass
class BootstrapSums:
    """Weighted sums over pairs; the last axis is the number itself, then the replicates. Halves merge by adding."""

    pairs: Floats
    """`(1 + replicates,)` sum of the weights."""
    image_first: Floats
    """`(atoms, 1 + replicates)` sum of z."""
    text_first: Floats
    image_second: Floats
    """`(atoms, 1 + replicates)` sum of z²."""
    text_second: Floats
    errors: Floats
    """`(2, 1 + replicates)` sum of squared errors, images and texts."""
    entries: Floats
    """`(2, 1 + replicates)` sum of the rows' entries."""
    squares: Floats
    """`(2, 1 + replicates)` sum of their squares."""

    @classmethod
    def zeros(cls, atoms: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        return cls(
            np.zeros(columns),
            *(np.zeros((atoms, columns)) for _ in range(4)),
            *(np.zeros((2, columns)) for _ in range(3)),
        )

    def update(self, codes: tuple[SparseCodes, SparseCodes], rows: tuple[Tensor, Tensor], weights: Floats) -> None:
        """Add pairs: image and text codes with their residuals, the rows that were encoded, and the pairs' weights."""
        self.pairs += weights.sum(axis=0)
        atoms = len(self.image_first)
        for number, name in enumerate(("image", "text")):
            values = merged_code_matrix(codes[number], atoms)
            first, second = getattr(self, f"{name}_first"), getattr(self, f"{name}_second")
            first += values.T @ weights
            second += values.power(2).T @ weights
            x, residual = rows[number].double(), codes[number].residual.double()
            for sums, part in ((self.errors, residual.square()), (self.entries, x), (self.squares, x.square())):
                sums[number] += part.sum(1).cpu().numpy() @ weights

    def merge(self, other: Self) -> Self:
        """Return the sums of both sets of pairs."""
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def save(self, path: Path) -> None:
        """Write the sums as safetensors."""
        save_file(dict(vars(self)), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**load_file(path))

    def interval(self, measure: Callable[[Self], Floats], level: float = 0.95) -> Interval:
        """Return the interval of a measure that gives `(1 + replicates,)` values, such as those below."""
        values = measure(self)
        return Interval.of(values[0], values[1:], level)


def mean_squared_error(sums: BootstrapSums) -> Floats:
    """Return the mean over images and texts of a row's summed squared error (paper 1.6)."""
    return sums.errors.sum(0) / np.maximum(2 * sums.pairs, 1)


def r2(sums: BootstrapSums, dim: int) -> Floats:
    """Return R² against the scalar mean of all entries, by modality, averaged (paper 1.6); rows are `dim` wide."""
    count = np.maximum(sums.pairs * dim, 1)
    variance = sums.squares / count - (sums.entries / count) ** 2
    return (1 - (sums.errors / count) / (variance + _VARIANCE_FLOOR)).mean(axis=0)


def modality_scores(sums: BootstrapSums) -> Floats:
    """Return `(atoms, 1 + replicates)` image energy as a share of image plus text energy; NaN where there is none."""
    total = sums.image_second + sums.text_second
    return np.divide(sums.image_second, total, out=np.full(total.shape, np.nan), where=total > 0)


def energy_share(sums: BootstrapSums, chosen: Callable[[Floats], npt.NDArray[np.bool_]]) -> Floats:
    """Return the share of the energy in the atoms whose modality score is `chosen`, anew in each replicate."""
    total = sums.image_second + sums.text_second
    with np.errstate(invalid="ignore"):
        held = np.where(chosen(modality_scores(sums)), total, 0.0).sum(0)
    return held / np.maximum(total.sum(0), 1e-30)


def bimodal_energy_share(sums: BootstrapSums, epsilon: float = EPSILON) -> Floats:
    """Return the share of the energy in bimodal atoms (paper 1.5)."""
    return energy_share(sums, lambda score: (score >= epsilon) & (score <= 1 - epsilon))


def difference_in_means(sums: BootstrapSums, dictionary: Floats, keep: npt.NDArray[np.bool_]) -> Floats:
    """Return the distance of the modalities' means when rows are rebuilt from the atoms of `keep`, `(atoms,)`, alone.

    dictionary: `(atoms, dim)`. The classes are those of the data; only the means vary (paper 1.11, 4.1).
    """
    gap = (sums.image_first - sums.text_first)[keep] / np.maximum(sums.pairs, 1)
    return np.linalg.norm(dictionary[keep].T @ gap, axis=0)
