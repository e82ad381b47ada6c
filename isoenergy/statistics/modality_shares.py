"""The modality score of any number of modalities: μ is a distribution over them, and says which of them share an atom.

With two modalities, μ's first entry is the paper's score, and the classes are the paper's (1.5).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isoenergy.statistics.thresholds import EPSILON

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]


def modality_shares(energies: Floats) -> Floats:
    """Return μ: each modality's energy as a share of all modalities' together; NaN where there is none.

    energies: `(modalities, atoms, …)`, mean squared coefficients.
    """
    total = energies.sum(axis=0)
    shares: Floats = np.divide(energies, total, out=np.full(energies.shape, np.nan), where=total > 0)
    return shares


def sharing_modalities(shares: Floats, epsilon: float = EPSILON) -> Masks:
    """Return which modalities share each atom, as `shares`: the fewest that hold more than 1 - `epsilon` of its energy.

    What the others hold is less than `epsilon` together. An atom of one modality is unimodal, one of none is dead.
    """
    order = np.argsort(-shares, axis=0, kind="stable")
    ranked = np.take_along_axis(shares, order, axis=0)
    held_before = np.cumsum(ranked, axis=0) - ranked
    held_before[0] = 0
    masks = np.zeros(shares.shape, bool)
    np.put_along_axis(masks, order, held_before <= 1 - epsilon, axis=0)
    return masks & (shares > 0)


def normalised_entropy(shares: Floats) -> Floats:
    """Return -Σ μ log μ over the logarithm of their number: 0 for an atom of one modality, 1 if all have alike."""
    logs = np.log(shares, out=np.zeros(shares.shape), where=shares > 0)
    entropy: Floats = -(shares * logs).sum(axis=0) / np.log(len(shares))
    return entropy


def subset_numbers(masks: Masks) -> npt.NDArray[np.int64]:
    """Return a number for each atom's set of modalities: the sum of 2 to the power of theirs; 0 for a dead atom."""
    powers = 2 ** np.arange(len(masks), dtype=np.int64)
    return np.tensordot(powers, masks.astype(np.int64), axes=1)


def subset_name(number: int, modalities: Sequence[str]) -> str:
    """Return the names of a set of modalities, `audio+text` say; `dead` for none."""
    return "+".join(name for place, name in enumerate(modalities) if number >> place & 1) or "dead"
