"""Results over seeds: what they are, and the mean and interval of a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Interval = dict[str, float | None]

_RESAMPLES = 10_000
_FEWEST = 3


@dataclass(frozen=True)
class SeedResults:
    """What `measure_recovery` returned for each seed of one τ₁, encoder and alignment."""

    instance_cosine: float
    sparse_encoder: str
    alignment: str
    seeds: Sequence[Mapping[str, Any]]


def mean_and_interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds and its 95 % interval by the percentile bootstrap; no interval of a single seed.

    With few seeds such an interval is somewhat too narrow: by about 5 % of its width with ten. No mean if a seed has
    no number.
    """
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        return {"mean": None, "low": None, "high": None}
    mean = float(array.mean())
    if len(array) < 2:
        return {"mean": mean, "low": None, "high": None}
    drawn = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return {"mean": mean, "low": float(low), "high": float(high)}


def mean_of_few(values: Sequence[float]) -> Interval:
    """Return the mean over seeds and Student's 95 % interval, which holds with few of them, too.

    No interval of fewer than three, of which it says nothing, no mean if a seed has no number.
    """
    array = np.asarray(values, np.float64)
    if not len(array) or not np.isfinite(array).all():
        return {"mean": None, "low": None, "high": None}
    mean = float(array.mean())
    if len(array) < _FEWEST:
        return {"mean": mean, "low": None, "high": None}
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def interval_text(interval: Interval) -> str:
    """Return `mean [low, high]`, as far as there are any."""
    mean, low, high = interval["mean"], interval["low"], interval["high"]
    if mean is None:
        return "–"
    return f"{mean:.3f}" if low is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"
