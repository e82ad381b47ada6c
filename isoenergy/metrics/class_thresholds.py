"""What bimodal atoms hold as the cut between the classes moves: of the energy, and of bridges (paper 1.5, 1.8)."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

THRESHOLDS: Floats = np.geomspace(0.005, 0.5, 41)
"""ε: from where nearly every atom is bimodal to where only those are whose energies are equal; 0.05 is the paper's."""


def mass_with_bimodal_side(masses: Floats, scores: tuple[Floats, Floats], thresholds: Floats = THRESHOLDS) -> Floats:
    """Return `(thresholds, columns)` shares of each column's mass that has a bimodal side.

    masses: `(entries, columns)`, not negative; scores: the modality scores μ of the atoms at both sides of each entry,
    `(entries, columns)`, NaN for a dead atom, which has no mass; thresholds: rising, in (0, 0.5]. NaN where a column
    has no mass.
    """
    found = np.full((len(thresholds), masses.shape[1]), np.nan)
    for column, mass in enumerate(masses.T):
        largest = np.fmax(*(_largest_threshold(side[:, column]) for side in scores))
        passed = np.searchsorted(thresholds, largest, side="right")
        *held, total = np.bincount(passed, mass, len(thresholds) + 1)[::-1].cumsum()
        if total > 0:
            found[:, column] = np.array(held[::-1]) / total
    return found


def _largest_threshold(score: Floats) -> Floats:
    """Return the largest ε at which an atom of this score is bimodal; below 0 if it is at none."""
    return np.nan_to_num(np.minimum(score, 1 - score), nan=-1.0)
