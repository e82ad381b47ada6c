"""Whether an atom means the same on both sides: whether a pair's image and text fire it together, and alike.

Equal energy says that images and texts fire an atom as strongly on the whole, not that they do so in the same pairs.
The correlation is the diagonal of the Σ-bridge (paper 1.8), less what is left of it of shuffled pairs, normalised; the
lift is that of association rules (Brin et al. 1997). The null of both is that texts have been dealt out to images at
random.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from isoenergy.statistics.pair_agreement import POWERS, PairAgreement
from isoenergy.statistics.thresholds import LEAST_IMAGES, ZERO_OF_N

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

AGREEMENT_Q = 0.05
"""Below this false discovery rate an atom agrees beyond shuffled pairs."""
_FEWEST_FIRES = 20
_ROUNDING = 1e-12
_AT_ONCE = 2**20
"""Atoms times replicates whose probabilities are at work at once."""


@dataclass(frozen=True)
class Agreement:
    """What is known of each atom; `(atoms,)` arrays, NaN where there is nothing to say."""

    correlation: Floats
    """Of the two coefficients over pairs, in [-1, 1]; NaN of an atom that a modality never fires, or always alike."""
    correlation_low: Floats
    correlation_high: Floats
    """Its interval, at `level`; NaN of fewer than 20 effective pairs."""
    lift: Floats
    """How many times as often both fire as they would if they had nothing to do with each other; 0 and up."""
    lift_low: Floats
    lift_high: Floats
    agreement_p_value: Floats
    """Of a correlation as large if the pairs were shuffled; NaN for an atom that fires in fewer than 20 pairs (in as
    many times more as captions share images)."""
    agreement_q_value: Floats
    """The same, with the false discovery rate controlled over the atoms that were tested (Benjamini-Hochberg)."""

    @property
    def agrees(self) -> Mask:
        """The atoms whose coefficients are correlated beyond those of shuffled pairs (false discovery rate 5 %)."""
        return np.nan_to_num(self.agreement_q_value, nan=1.0) < AGREEMENT_Q


def agreement(sums: PairAgreement, level: float = 0.95) -> Agreement:
    """Return how far the two coefficients of each atom go together in pairs, with intervals and tests.

    Intervals: of the correlation by Fisher's transform, with the spread that it has without normality (Steiger &
    Hakstian 1982), of the lift by that of its logarithm. If an image and its text never fire an atom both, the upper
    bounds are those that three unseen pairs of its usual strength would give.
    Captions of one image do not count as pairs of their own: spread and null are those of the effective number of
    pairs (see `isoenergy.statistics.pair_agreement.PairAgreement.effective_pairs`).
    Test: one-sided, by the distribution of the correlation over all ways to pair the images with the texts. Its mean
    (0), variance (1 / (n - 1)) and skewness are exact, its shape is that of Pearson's type III (Mielke & Berry 2001):
    rare atoms have few chances to meet, and one meeting is then no wonder, large as the correlation that it makes is.
    That shape has next to all of its mass at its edge for the rarest: a correlation that is not above 0, as that of
    sides which never meet, has p = 1.
    """
    n, half = max(sums.pairs, 2), float(ndtri((1 + level) / 2))
    effective, dependence = max(sums.effective_pairs, 2), sums.pairs / max(sums.effective_pairs, 1)
    raw = _raw(sums)
    central = _central(raw)
    with np.errstate(divide="ignore", invalid="ignore"):
        spreads = _spread(central[2, 0], raw[2, 0]) * _spread(central[0, 2], raw[0, 2])
        correlation = np.clip(central[1, 1] / spreads, -1, 1)
        error = np.sqrt(np.maximum(_variance(correlation, central), 0) / effective) / (1 - correlation**2)
        low, high = (np.tanh(np.arctanh(correlation) + sign * half * error) for sign in (-1, 1))
        strength = (sums.image[0] / sums.image_fires) * (sums.text[0] / sums.text_fires)
        unseen = np.minimum(1.0, correlation + ZERO_OF_N * np.abs(strength) / effective / spreads)
        never = sums.both_fire == 0
        lift = sums.both_fire * n / (sums.image_fires * sums.text_fires)
        of_log = 1 / sums.both_fire - 1 / sums.image_fires - 1 / sums.text_fires + (2 * lift - 1) / n
        factor = np.exp(half * np.sqrt(np.maximum(of_log * dependence, 0)))
        most = np.where(np.isnan(lift), np.nan, ZERO_OF_N * dependence * n / (sums.image_fires * sums.text_fires))
        lift_low, lift_high = np.where(never, lift, lift / factor), np.where(never, most, lift * factor)
        by_chance = _p_value(correlation, _skewness(central, effective), effective)
        p_value = np.where(never | (correlation <= 0), 1.0, by_chance)
    low, high = np.where(never, correlation, low), np.where(never, unseen, high)
    if effective < LEAST_IMAGES:
        low = high = lift_low = lift_high = np.full_like(correlation, np.nan)
    p_value[np.minimum(sums.image_fires, sums.text_fires) < 1] = np.nan
    p_value[sums.image_fires + sums.text_fires - sums.both_fire < _FEWEST_FIRES * dependence] = np.nan
    return Agreement(correlation, low, high, lift, lift_low, lift_high, p_value, _false_discovery(p_value))


def agrees_in_replicates(sums: PairAgreement, correlation: Floats) -> Mask:
    """Return `(atoms, 1 + replicates)` which atoms agree in the pairs, and in each replicate of them.

    correlation: `(atoms, 1 + replicates)`, as `isoenergy.statistics.weighted_sums.BootstrapSums` has it. Each replicate
    has a test of its own, over all atoms, by its correlations; of the pairs' the null keeps variance and skewness, and
    which atoms are tested. Replicates are taken some at a time, so that what is at work at once is bounded.
    """
    here, n = agreement(sums), max(sums.effective_pairs, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = _skewness(_central(_raw(sums)), n)
    found = np.zeros(correlation.shape, bool)
    found[:, 0] = here.agrees
    tested = np.flatnonzero(np.isfinite(here.agreement_p_value))
    skewness = np.nan_to_num(skewness[tested, None])  # without one, of an atom that does not vary, p is 1
    if not len(tested):
        return found
    from scipy.stats import false_discovery_control, pearson3

    block = max(1, _AT_ONCE // len(tested))
    for start in range(1, correlation.shape[1], block):
        some = np.nan_to_num(correlation[tested, start : start + block])
        p_value = np.where(some > 0, pearson3.sf(some * np.sqrt(n - 1), skewness), 1.0)
        found[tested, start : start + block] = false_discovery_control(p_value, axis=0) < AGREEMENT_Q
    return found


def agreeing_share(energy: Floats, bimodal: Mask, agrees: Mask) -> Floats:
    """Return the share of the bimodal atoms' energy in those that agree; in [0, 1], NaN of none.

    energy: `(atoms, …)`; bimodal: `(atoms,)`; agrees: `(atoms,)`, or of the shape of the energy.
    """
    members = agrees.reshape(*agrees.shape, *[1] * (energy.ndim - agrees.ndim))[bimodal]
    total = energy[bimodal].sum(axis=0)
    share: Floats = np.divide(
        (energy[bimodal] * members).sum(axis=0), total, out=np.full(np.shape(total), np.nan), where=total > 0
    )
    return share


def mean_correlation(energy: Floats, correlation: Floats, members: Mask) -> Floats:
    """Return the correlation of some atoms, averaged with their energy; in [-1, 1], NaN of none.

    energy, correlation: `(atoms, …)`; atoms whose correlation is NaN count as 0: one side of a pair says nothing.
    """
    total = energy[members].sum(axis=0)
    held = (energy[members] * np.nan_to_num(correlation[members])).sum(axis=0)
    mean: Floats = np.divide(held, total, out=np.full(np.shape(total), np.nan), where=total > 0)
    return mean


def _raw(sums: PairAgreement) -> dict[tuple[int, int], Floats]:
    """Raw moments of z and w, by (power of z, power of w)."""
    z, w, both = (part / max(sums.pairs, 2) for part in (sums.image, sums.text, sums.both))
    raw = {(a, 0): z[a - 1] for a in range(1, 5)} | {(0, b): w[b - 1] for b in range(1, 5)}
    return raw | dict(zip(POWERS, both, strict=True))


def _central(raw: dict[tuple[int, int], Floats]) -> dict[tuple[int, int], Floats]:
    """Central moments of z and w up to the fourth order from raw ones, by (power of z, power of w)."""
    x, y = raw[1, 0], raw[0, 1]
    central = {(1, 1): raw[1, 1] - x * y}
    for power in (2, 3, 4):
        central[power, 0] = _of_one(power, x, *(raw[a, 0] for a in range(2, power + 1)))
        central[0, power] = _of_one(power, y, *(raw[0, b] for b in range(2, power + 1)))
    central[2, 2] = (
        raw[2, 2]
        - 2 * y * raw[2, 1]
        - 2 * x * raw[1, 2]
        + y**2 * raw[2, 0]
        + x**2 * raw[0, 2]
        + 4 * x * y * raw[1, 1]
        - 3 * x**2 * y**2
    )
    central[3, 1] = _three_and_one(x, y, raw[3, 1], raw[2, 1], raw[1, 1], raw[3, 0], raw[2, 0])
    central[1, 3] = _three_and_one(y, x, raw[1, 3], raw[1, 2], raw[1, 1], raw[0, 3], raw[0, 2])
    return central


def _of_one(power: int, mean: Floats, *raw: Floats) -> Floats:
    """E[(X - mean)^power] from the raw moments from the second on."""
    terms = (mean, *raw)
    found = (-mean) ** power
    for order, moment in enumerate(terms, 1):
        found = found + math.comb(power, order) * (-mean) ** (power - order) * moment
    return found


def _three_and_one(x: Floats, y: Floats, x3y: Floats, x2y: Floats, xy: Floats, x3: Floats, x2: Floats) -> Floats:
    """E[(X - x)³ (Y - y)] from raw moments."""
    return x3y - y * x3 - 3 * x * x2y + 3 * x * y * x2 + 3 * x**2 * xy - 3 * x**3 * y


def _spread(variance: Floats, second: Floats) -> Floats:
    """The standard deviation; NaN where it is that of rounding alone."""
    return np.sqrt(np.where(variance > _ROUNDING * second, variance, np.nan))


def _variance(r: Floats, central: dict[tuple[int, int], Floats]) -> Floats:
    """n times the variance of the correlation r, without normality."""
    xx, yy = central[2, 0], central[0, 2]
    spread = np.sqrt(xx * yy)
    return (
        central[2, 2] / (xx * yy)
        + r**2 / 4 * (central[4, 0] / xx**2 + central[0, 4] / yy**2 + 2 * central[2, 2] / (xx * yy))
        - r * (central[3, 1] / (xx * spread) + central[1, 3] / (yy * spread))
    )


def _skewness(central: dict[tuple[int, int], Floats], n: float) -> Floats:
    """`(atoms,)` skewness of the correlation over all ways to pair n images with n texts."""
    found: Floats = (
        central[3, 0] * central[0, 3] / (central[2, 0] * central[0, 2]) ** 1.5 * np.sqrt(n - 1) / max(n - 2, 1)
    )
    return found


def _p_value(correlation: Floats, skewness: Floats, n: float) -> Floats:
    """`(atoms,)` probabilities of a correlation as large or larger over all ways to pair."""
    from scipy.stats import pearson3  # half a second to import, which other workers need not spend

    found = np.full(len(correlation), np.nan)
    known = np.isfinite(correlation) & np.isfinite(skewness)
    found[known] = pearson3.sf(correlation[known] * np.sqrt(n - 1), skewness[known])
    return found


def _false_discovery(p_value: Floats) -> Floats:
    q_value = np.full_like(p_value, np.nan)
    tested = np.isfinite(p_value)
    if tested.any():
        from scipy.stats import false_discovery_control

        q_value[tested] = false_discovery_control(p_value[tested])
    return q_value
