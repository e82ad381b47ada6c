"""Whether an atom's energy is the same in both modalities: a paired test for each, and how far it is shared.

The paper cuts the modality score at 0.05; that says neither how sure the cut is nor how near an atom is to the other
side of it. Here u and v are an atom's squared coefficients in the image and the text of a pair, so that its energies
are their means. The hypothesis of Iso-Energy is E[u - v] = 0.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import ndtr, ndtri

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.concept_statistics import merged_code_matrix
from isoenergy.statistics.sums import MergeableSums
from isoenergy.statistics.thresholds import LEAST_IMAGES, ZERO_OF_N

Floats = npt.NDArray[np.float64]

_FEWEST_FIRES = 20


@dataclass
class PairedEnergy(MergeableSums):
    """Sums over pairs; two halves merge into the whole. Every array is `(atoms,)` float64."""

    pairs: int
    image: Floats
    """Sum of u."""
    text: Floats
    """Sum of v."""
    image_squares: Floats
    """Sum of u²."""
    text_squares: Floats
    """Sum of v²."""
    products: Floats
    """Sum of u·v."""
    image_fires: Floats
    """Pairs whose image fires the atom."""
    text_fires: Floats
    """Pairs whose text does."""
    fires: Floats
    """Pairs of which one or the other does."""

    @classmethod
    def zeros(cls, atoms: int) -> Self:
        """Return the sums of no pairs."""
        return cls(0, *(np.zeros(atoms) for _ in fields(cls)[1:]))

    def update(self, image_codes: SparseCodes, text_codes: SparseCodes) -> None:
        """Add pairs: row i of both codes belong together."""
        if len(image_codes) != len(text_codes):
            raise ValueError(f"image_codes and text_codes must pair up, got {len(image_codes)} and {len(text_codes)}")
        u, v = (_squares(codes, len(self.image)) for codes in (image_codes, text_codes))
        both = u.multiply(v)
        self.pairs += len(image_codes)
        for name, part in (
            ("image", u),
            ("text", v),
            ("image_squares", u.power(2)),
            ("text_squares", v.power(2)),
            ("products", both),
            ("image_fires", u != 0),
            ("text_fires", v != 0),
            ("fires", (u + v) != 0),
        ):
            setattr(self, name, getattr(self, name) + np.asarray(part.sum(axis=0)).ravel())


@dataclass(frozen=True)
class EnergyTests:
    """What is known of each atom; `(atoms,)` arrays, NaN where there is nothing to say."""

    p_value: Floats
    """Of equal energy, two-sided; NaN for an atom that fires in fewer than 20 pairs."""
    q_value: Floats
    """The same, with the false discovery rate controlled over the atoms that were tested (Benjamini-Hochberg)."""
    sharedness: Floats
    """The smaller energy as a share of the larger: 1 if both are equal, 0 for an atom of one modality."""
    sharedness_low: Floats
    sharedness_high: Floats
    """Its interval, at `level`; NaN of fewer than 20 pairs."""


def equal_energy_tests(sums: PairedEnergy, level: float = 0.95) -> EnergyTests:
    """Test every atom for equal energy, and say how far it is shared.

    The statistic is the mean of u - v over its standard error, by the normal approximation, which needs a number of
    pairs in which the atom fires: rarer atoms are not tested. The interval of the sharedness comes from that of
    log(E_I/E_T), by the delta method. An atom that one modality never fires has sharedness 0; its upper bound is what
    would be left unseen: with n firings in the one, below 3/n in the other, at the energy that it has when it fires.
    """
    n = max(sums.pairs, 1)
    mean_u, mean_v = sums.image / n, sums.text / n
    var_u = np.maximum(sums.image_squares / n - mean_u**2, 0)
    var_v = np.maximum(sums.text_squares / n - mean_v**2, 0)
    covariance = sums.products / n - mean_u * mean_v
    var_difference = np.maximum(var_u + var_v - 2 * covariance, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (mean_u - mean_v) / np.sqrt(var_difference / n)
        z = np.where((mean_u == mean_v) & (sums.fires > 0), 0.0, z)
        p_value = np.where(sums.fires >= _FEWEST_FIRES, 2 * ndtr(-np.abs(z)), np.nan)
        ratio = np.log(mean_u / mean_v)
        error = np.sqrt((var_u / mean_u**2 + var_v / mean_v**2 - 2 * covariance / (mean_u * mean_v)) / n)
        half = ndtri((1 + level) / 2) * error
        sharedness = np.exp(-np.abs(ratio))
        low = np.exp(-(np.abs(ratio) + half))
        high = np.where(np.abs(ratio) <= half, 1.0, np.exp(-(np.abs(ratio) - half)))
        alone = (mean_u == 0) ^ (mean_v == 0)
        unseen = np.minimum(1.0, ZERO_OF_N / np.maximum(sums.image_fires, sums.text_fires))
    low, high = np.where(alone, 0.0, low), np.where(alone, unseen, high)
    if sums.pairs < LEAST_IMAGES:
        low, high = np.full_like(low, np.nan), np.full_like(high, np.nan)
    q_value = np.full_like(p_value, np.nan)
    tested = np.isfinite(p_value)
    if tested.any():
        from scipy.stats import false_discovery_control  # half a second to import, which other workers need not spend

        q_value[tested] = false_discovery_control(p_value[tested])
    return EnergyTests(
        p_value,
        q_value,
        np.where(alone, 0.0, sharedness),
        low,
        high,
    )


def _squares(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    """`(rows, atoms)` squared coefficients."""
    squares = merged_code_matrix(codes, atoms).power(2)
    squares.eliminate_zeros()
    return squares
