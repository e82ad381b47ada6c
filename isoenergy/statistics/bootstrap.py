"""Intervals for what is measured: a bootstrap over pairs.

Each replicate gives every pair a Poisson(1) weight, which follows from the seed and the pair's part and place: so parts
are summed apart and added, and the memory is that of `isoenergy.statistics.weighted_sums`, not of the rows.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]

REPLICATES = 200


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
    def of_weighted(cls, values: Floats, least: float = -math.inf, most: float = math.inf) -> Self:
        """Return the interval `around` a measure under weights, `(1 + replicates,)`: it, then its replicates."""
        return cls.around(float(values[0]), values[1:], least=least, most=most)

    @classmethod
    def of_share(cls, values: Floats) -> Self:
        """Return `of_weighted` of a share, between 0 and 1."""
        return cls.of_weighted(values, least=0.0, most=1.0)

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
