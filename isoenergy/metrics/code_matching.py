"""Which atom of one code means what one of another does: matched by how their coefficients go together in pairs."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.float64]


def code_correlations(image_codes: npt.NDArray[np.floating], text_codes: npt.NDArray[np.floating]) -> Floats:
    """Return `(image atoms, text atoms)` Pearson correlations of coefficients over pairs; 0 of one that never varies.

    image_codes: `(pairs, image atoms)`; text_codes: `(pairs, text atoms)`, row i of one with row i of the other.
    """
    parts = []
    for codes in (image_codes, text_codes):
        centred = np.asarray(codes, np.float64) - np.mean(codes, axis=0, dtype=np.float64)
        norm = np.linalg.norm(centred, axis=0)
        still = norm <= 1e-9 * np.sqrt(len(codes))
        parts.append(np.where(still, 0.0, centred / np.where(still, 1.0, norm)))
    correlations: Floats = parts[0].T @ parts[1]
    return correlations


def matched_columns(similarity: Floats) -> npt.NDArray[np.int64]:
    """Return `(atoms,)`: for each row of a square `(atoms, atoms)` similarity its column, one to one (Hungarian).

    The sum of the similarities is the largest that there is.
    """
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return np.asarray(columns[np.argsort(rows)], np.int64)
