"""Intervals for what is measured: a bootstrap over pairs, or over images that several pairs share.

Each replicate gives every pair a Poisson(1) weight, which follows from the seed and the pair's image alone: so parts
are summed apart and added, and the memory is that of `isoenergy.statistics.weighted_sums`, not of the rows. Captions of
one image are not independent: wherever they stand they are drawn together, as clusters are (Davison & Hinkley 1997,
3.8).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from isoenergy.statistics.thresholds import LEAST_IMAGES

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint64]

REPLICATES = 200
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_POISSON = (2.0**32 * np.cumsum([math.exp(-1) / math.factorial(count) for count in range(12)])).astype(np.uint32)
"""A number of 32 bits is a Poisson(1) draw: of how many of these it is not below."""
_ROWS_AT_ONCE = 512
"""Whose numbers stay in a core's cache while they are looked at."""


@dataclass(frozen=True)
class Interval:
    """A number and where it lies in most replicates."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Floats, level: float = 0.95) -> Self:
        """Return the percentile interval of `(replicates,)` values; NaN ones are left out, infinite ones count.

        Its ends are the p (n + 1)-th of n values in order (Davison & Hinkley 1997, 5.3): p of what could be drawn lies
        beyond on average, where other ways to interpolate leave half a point more outside of 200 at each end.
        """
        known = replicates[~np.isnan(replicates)]
        if not len(known):
            return cls(float(value), float("nan"), float("nan"))
        with np.errstate(invalid="ignore"):
            low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="weibull")
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
        """Return the percentile interval of replicates without the bias of what they replicate (see `unbiased`).

        A value that noise has moved out of it, or that skewed replicates do not hold, is held nevertheless: the
        interval is widened to it. least, most: the measure cannot be below or above.
        """
        found = cls.of(value, unbiased(value, replicates), level).holding_its_value()
        if math.isnan(found.low):
            return found
        return cls(value, max(found.low, least), min(found.high, most))

    @classmethod
    def of_weighted(cls, values: Floats, least: float = -math.inf, most: float = math.inf) -> Self:
        """Return the interval `around` a measure under weights, `(1 + replicates,)`: it, then its replicates."""
        return cls.around(float(values[0]), values[1:], least=least, most=most)

    @classmethod
    def of_norm(cls, values: Floats) -> Self:
        """Return `of_weighted` of the norm of a mean, which is 0 or more.

        Noise adds to a norm, most where it is small, but to its square always the same: that is where the bias goes.
        """
        square = cls.of_weighted(np.square(values), least=0.0)
        return cls(float(values[0]), math.sqrt(square.low), math.sqrt(square.high))

    @classmethod
    def of_share(cls, values: Floats) -> Self:
        """Return `of_weighted` of a share, between 0 and 1."""
        return cls.of_weighted(values, least=0.0, most=1.0)

    @classmethod
    def of_spread(cls, values: Floats) -> Self:
        """Return the interval of a share, between 0 and 1, of which replicates tell the spread alone.

        values: `(1 + replicates,)`. For what is to be told of samples of this size, and is unbiased therefore; what its
        replicates lie beside it on average is their own. It is normal in log-odds, with the spread that follows by the
        delta method (the logit interval of Brown, Cai & DasGupta 2001): a share varies less the nearer it is to its
        end, and an interval of equal arms is too short then towards the middle.
        """
        value, known = float(values[0]), values[1:][np.isfinite(values[1:])]
        error = float(known.std(ddof=1)) if len(known) > 1 else math.nan
        if not 0 < value < 1:
            found = cls.normal(value, error, least=0.0)
            return cls(value, found.low, found.high if math.isnan(error) else min(found.high, 1.0))
        odds = cls.normal(float(logit(value)), error / (value * (1 - value)))
        return cls(value, float(expit(odds.low)), float(expit(odds.high)))

    @classmethod
    def normal(cls, value: float, standard_error: float, level: float = 0.95, least: float = -math.inf) -> Self:
        """Return the interval of a value that varies normally. least: the measure cannot be below."""
        half = float(ndtri((1 + level) / 2)) * standard_error
        return cls(value, value - half if math.isnan(half) else max(value - half, least), value + half)

    def holding_its_value(self) -> Self:
        """Return the interval, widened to its value where that lies outside; as it is where there is none."""
        if math.isnan(self.low):
            return self
        return type(self)(self.value, min(self.low, self.value), max(self.high, self.value))


def unbiased(value: float, replicates: Floats) -> Floats:
    """Return the replicates that are finite, moved so that their mean is the value less its bias.

    Noise moves a norm, or a ratio, from what it would be on all pairs, and replicates from the value as far again: how
    far they lie beside it on average is the bias, which the value has once and they have twice (Efron & Tibshirani
    1993, 10.6).
    """
    known = replicates[np.isfinite(replicates)]
    return known - 2 * (known.mean() - value) if len(known) else known


def image_weights(images: Labels, replicates: int, seed: int) -> Floats:
    """Return `(rows, 1 + replicates)` weights of pairs: ones, for the number itself, then Poisson(1).

    images: `(rows,)` labels, equal where the image is, and the weights are then too, whatever else is drawn. Numbers
    follow from label, seed and replicate by SplitMix64 (Steele, Lea & Flood 2014), of whose 64 bits each half decides
    one weight.
    """
    weights = np.ones((len(images), 1 + replicates))
    streams = _mixed(images ^ _mixed(np.array([seed % 2**64], np.uint64)))
    steps = np.arange(1, 1 + (1 + replicates) // 2, dtype=np.uint64) * _GOLDEN
    for start in range(0, len(images), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        drawn = _mixed(streams[block, None] + steps).view(np.uint32)[:, :replicates]
        weights[block, 1:] = drawn >= _POISSON[0]
        for bound in _POISSON[1:]:
            weights[block, 1:] += drawn >= bound
    return weights


def poisson_weights(rows: int, replicates: int, seed: int, first: int = 0) -> Floats:
    """Return `image_weights` of rows that have nothing in common; first: the number of the first of them."""
    return image_weights(np.arange(first, first + rows, dtype=np.uint64), replicates, seed)


def sample_weights(images: Labels, replicates: int, seed: int) -> Floats:
    """Return `image_weights` of all pairs that something is measured on, as `if_enough` leaves them."""
    return if_enough(image_weights(images, replicates, seed), len(np.unique(images)))


def if_enough(values: Floats, images: int) -> Floats:
    """Return `(…, 1 + replicates)` numbers; the replicates are NaN of fewer images than an interval wants.

    So is whatever is computed from them, and an interval of these has no bounds.
    """
    if images >= LEAST_IMAGES:
        return values
    known = values.copy()
    known[..., 1:] = np.nan
    return known


def no_intervals(images: int, called: str = "images") -> str:
    """Return why there are no intervals of so many images; nothing if there are."""
    return f"an interval wants {LEAST_IMAGES} {called}; there are {images}" if images < LEAST_IMAGES else ""


def _mixed(numbers: Labels) -> Labels:
    """SplitMix64's finaliser, in new memory."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
