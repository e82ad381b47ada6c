"""Whether what fires an atom is alike, within a modality and across two."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def multimodal_monosemanticity(
    codes: Floats, rows: Floats, other_codes: Floats | None = None, other_rows: Floats | None = None
) -> npt.NDArray[np.float64]:
    """Return MMS of each atom, `(atoms,)`: Σ A_ij S_ij / Σ A_ij; in [-1, 1], 0 of an atom that never fires in both.

    codes: `(n, atoms)` of one modality; rows: `(n, width)` unit rows, the same inputs as another encoder sees them;
    other_codes, other_rows: `(m, …)` of the other modality, none for MMS within one. S_ij is the cosine of rows i and
    j, A_ij = |z_i z_j|, 0 where i = j within a modality. No n × m matrix is made: the sums factorise. With the
    encoder whose embeddings were coded as the other one, it says how near in that space, not how alike. Source:
    Kaushik et al. 2026 (2601.20028), which extends Pach et al. 2025 (2504.02821) to two modalities.
    """
    weight = np.abs(np.asarray(codes, np.float64))
    own = weight.T @ np.asarray(rows, np.float64)
    if other_codes is None or other_rows is None:
        itself = np.square(weight).sum(0)
        similar = np.square(own).sum(1) - np.square(weight).T @ np.square(rows).sum(1)
        total = weight.sum(0) ** 2 - itself
    else:
        other = np.abs(np.asarray(other_codes, np.float64))
        similar = (own * (other.T @ np.asarray(other_rows, np.float64))).sum(1)
        total = weight.sum(0) * other.sum(0)
    least = 1e-12 * max(float(total.max(initial=0.0)), np.finfo(np.float64).tiny)
    score: npt.NDArray[np.float64] = np.divide(similar, total, out=np.zeros_like(total), where=total > least)
    return score
