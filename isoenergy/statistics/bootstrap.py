"""Intervals for what is measured: a bootstrap over pairs, from sums that merge, without encoding anything again.

Each replicate gives every pair a Poisson(1) weight, which follows from the seed and the pair's part and place: so parts
are summed apart and added, and the memory is that of the sums, not of the rows. All that follows from first and second
moments by atom has an interval: reconstruction, energies and their shares, and the difference in means after any
removal of atoms and any affine map, since decoding is linear.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.concept_statistics import classes_of_scores, merged_code_matrix, modality_score
from isoenergy.statistics.sums import MergeableSums

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
        """Return the percentile interval of `(replicates,)` values; NaN ones are left out, infinite ones count."""
        known = replicates[~np.isnan(replicates)]
        if not len(known):
            return cls(float(value), float("nan"), float("nan"))
        with np.errstate(invalid="ignore"):
            low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        if not np.isfinite([low, high]).all():  # between a number and infinity there is nothing to interpolate
            low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        return cls(float(value), float(low), float(high))

    @classmethod
    def around(
        cls,
        value: float,
        replicates: Floats,
        level: float = 0.95,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> Self:
        """Return the percentile interval of replicates that are moved so that their mean is the value.

        Noise biases a norm, or the share of atoms past a threshold, and replicates have that bias once more: they lie
        beside the value, not around it. Skewed ones may do so even then: the interval is made to hold the value.
        least, most: the measure cannot be below or above.
        """
        known = replicates[np.isfinite(replicates)]
        found = cls.of(value, value + known - known.mean() if len(known) else known, level)
        if math.isnan(found.low):
            return found
        return cls(found.value, max(min(found.low, value), least), min(max(found.high, value), most))

    @classmethod
    def of_share(cls, values: Floats) -> Self:
        """Return the interval `around` a share, between 0 and 1, from `(1 + replicates,)`: it, then its replicates."""
        return cls.around(float(values[0]), values[1:], least=0.0, most=1.0)

    @classmethod
    def normal(cls, value: float, standard_error: float, level: float = 0.95, least: float = -math.inf) -> Self:
        """Return the interval of a value that varies normally. least: the measure cannot be below."""
        half = float(ndtri((1 + level) / 2)) * standard_error
        return cls(value, value - half if math.isnan(half) else max(value - half, least), value + half)


def poisson_weights(rows: int, replicates: int, seed: int, part: int) -> Floats:
    """Return `(rows, 1 + replicates)` weights of a part's pairs: ones, for the number itself, then Poisson(1).

    part: the number of the first pair, say: what tells these pairs from the others.
    """
    drawn = np.random.default_rng((seed, part)).poisson(1.0, (rows, replicates))
    return np.concatenate([np.ones((rows, 1)), drawn], axis=1)


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Return `(1 + replicates,)` means of `(n,)` values under `(n, 1 + replicates)` weights; NaN where none has any."""
    total = weights.sum(0)
    return np.divide(values @ weights, total, out=np.full(len(total), np.nan), where=total > 0)


@dataclass
class MeanSums(MergeableSums):
    """Weighted sums of paired rows; the last axis is the sum itself, then the replicates."""

    pairs: Floats
    """`(1 + replicates,)` sum of the weights."""
    image: Floats
    """`(dim, 1 + replicates)` sum of the images."""
    text: Floats

    @classmethod
    def zeros(cls, dim: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        return cls(np.zeros(columns), np.zeros((dim, columns)), np.zeros((dim, columns)))

    def update(self, images: Tensor, texts: Tensor, weights: Floats) -> None:
        """Add `(n, dim)` pairs and their `(n, 1 + replicates)` weights."""
        self.pairs += weights.sum(axis=0)
        for total, rows in ((self.image, images), (self.text, texts)):
            total += rows.double().cpu().numpy().T @ weights

    @property
    def means(self) -> tuple[Floats, Floats]:
        """`(dim, 1 + replicates)` means of images and of texts."""
        count = np.maximum(self.pairs, 1)
        return self.image / count, self.text / count


@dataclass
class BootstrapSums(MergeableSums):
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
    fires: Floats
    """`(2, 1 + replicates)` sum of the number of atoms in a row's code."""
    absolute: Floats
    """`(2, 1 + replicates)` sum of |z| over all atoms."""

    @classmethod
    def zeros(cls, atoms: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        return cls(
            np.zeros(columns),
            *(np.zeros((atoms, columns)) for _ in range(4)),
            *(np.zeros((2, columns)) for _ in range(5)),
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
            x, residual = (part.double().cpu().numpy() for part in (rows[number], codes[number].residual))
            for sums, by_row in (
                (self.errors, np.square(residual).sum(1)),
                (self.entries, x.sum(1)),
                (self.squares, np.square(x).sum(1)),
                (self.fires, (values != 0).sum(1)),
                (self.absolute, abs(values).sum(1)),
            ):
                sums[number] += by_row @ weights

    def interval(
        self, measure: Callable[[Self], Floats], level: float = 0.95, least: float = 0.0, most: float = math.inf
    ) -> Interval:
        """Return the interval of a measure that gives `(1 + replicates,)` values, such as those below.

        least, most: the measure cannot be below or above.
        """
        values = measure(self)
        return Interval.around(values[0], values[1:], level, least, most)


def mean_squared_error(sums: BootstrapSums) -> Floats:
    """Return the mean over images and texts of a row's summed squared error (paper 1.6)."""
    return sums.errors.sum(0) / np.maximum(2 * sums.pairs, 1)


def r2(sums: BootstrapSums, dim: int) -> Floats:
    """Return R² against the scalar mean of all entries, by modality, averaged (paper 1.6); rows are `dim` wide."""
    count = np.maximum(sums.pairs * dim, 1)
    variance = sums.squares / count - (sums.entries / count) ** 2
    return (1 - (sums.errors / count) / (variance + _VARIANCE_FLOOR)).mean(axis=0)


def l0(sums: BootstrapSums) -> Floats:
    """Return the mean number of atoms in a row's code (paper 1.6)."""
    return sums.fires.sum(0) / np.maximum(2 * sums.pairs, 1)


def l1(sums: BootstrapSums) -> Floats:
    """Return the mean sum of |z| in a row's code (paper 1.6)."""
    return sums.absolute.sum(0) / np.maximum(2 * sums.pairs, 1)


def modality_scores(sums: BootstrapSums) -> Floats:
    """Return `(atoms, 1 + replicates)` image energy as a share of image plus text energy; NaN where there is none."""
    return modality_score(sums.image_second, sums.text_second)


def class_energy_share(sums: BootstrapSums, name: str) -> Floats:
    """Return the share of the energy in a class of atoms, `bimodal` say; the classes are anew in each replicate.

    name: a field of `isoenergy.statistics.concept_statistics.AtomClasses` (paper 1.5).
    """
    total = sums.image_second + sums.text_second
    held = np.where(getattr(classes_of_scores(modality_scores(sums)), name), total, 0.0).sum(0)
    return held / np.maximum(total.sum(0), 1e-30)


def score_spread(sums: BootstrapSums) -> Floats:
    """Return √(Σ E (μ - ½)² / Σ E) (paper 1.5, 3.5)."""
    total = sums.image_second + sums.text_second
    squares = np.where(total > 0, total * (modality_scores(sums) - 0.5) ** 2, 0.0)
    return np.sqrt(squares.sum(0) / np.maximum(total.sum(0), 1e-30))


def rebuilt_means(sums: BootstrapSums, dictionary: Floats, keep: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return `(dim, 1 + replicates)` means of images and texts rebuilt from the atoms of `keep`, `(atoms,)`, alone.

    dictionary: `(atoms, dim)`. Decoding is linear, so that the means need the coefficients' sums alone (paper 4.1).
    """
    count = np.maximum(sums.pairs, 1)
    image, text = (dictionary[keep].T @ (first[keep] / count) for first in (sums.image_first, sums.text_first))
    return image, text


def norm_of_difference(means: tuple[Floats, Floats]) -> Floats:
    """Return `(1 + replicates,)` distances of two `(dim, 1 + replicates)` means: the gap DiM (paper 1.11)."""
    return np.linalg.norm(means[0] - means[1], axis=0)
