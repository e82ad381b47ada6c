"""Which modality an atom is of, pair by pair."""

import numpy as np
import numpy.typing as npt


def modality_dominance(
    image_codes: npt.NDArray[np.floating], text_codes: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return each atom's mean over pairs of |z_I| / (|z_I| + |z_T|), `(atoms,)`: 1 is image, 0 text; NaN if it is dead.

    image_codes, text_codes: `(pairs, atoms)`, row i of one with row i of the other. Pairs in which neither fires say
    nothing and are left out. Unlike μ it weighs every pair alike, however strongly it fires.
    Source: the Modality Dominance Score of Yan et al. 2025 (2502.14888); that coefficients are taken by size, and such
    pairs left out, could not be established from it.
    """
    image, text = (np.abs(np.asarray(part, np.float64)) for part in (image_codes, text_codes))
    total = image + text
    fires = total > 0
    share = np.divide(image, total, out=np.zeros_like(total), where=fires)
    pairs = fires.sum(0)
    score: npt.NDArray[np.float64] = np.divide(share.sum(0), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return score
