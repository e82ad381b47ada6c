"""The shape of a dictionary and of its use: ranks, coherence, co-activation (paper 1.10, 7)."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import eigsh

from isoenergy.metrics.gram_panels import gram_at, row_panels, unit_rows

Floats = npt.NDArray[np.float64]
Dictionary = npt.NDArray[np.floating]

_DENSE_SIZE = 64


def stable_rank(dictionary: Dictionary, energy: npt.NDArray[np.floating] | None = None) -> float:
    """Return ‖M‖_F² / ‖M‖₂²; in [1, rank], NaN of zeros (paper 1.10).

    dictionary: `(atoms, dim)`. energy: `(atoms,)`; M is the dictionary, or its rows times their energies as in the
    paper's code; give √E for rows whose squares weigh as their energies.
    """
    squares = np.square(_singular_values(dictionary, energy))
    return float(squares.sum() / squares.max()) if squares.any() else float("nan")


def effective_rank(dictionary: Dictionary, energy: npt.NDArray[np.floating] | None = None) -> float:
    """Return exp(-Σ p log p), p the singular values of M over their sum; in [1, rank], NaN of zeros (paper 1.10).

    Arguments as for `stable_rank`.
    """
    values = _singular_values(dictionary, energy)
    if not values.any():
        return float("nan")
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def coherence(dictionary: Dictionary) -> float:
    """Return the largest cosine of two different atoms, signed; in [-1, 1], NaN of one atom (paper 1.10).

    The paper's code lets its zeroed diagonal compete, so it never falls below 0. The usual mutual coherence, of
    magnitudes, is `babel(dictionary, 1)[0]`.
    """
    unit = unit_rows(dictionary)
    largest = -np.inf
    for panel in row_panels(len(unit)):
        cosine = unit[panel] @ unit[panel.start :].T
        np.fill_diagonal(cosine, -np.inf)
        largest = max(largest, float(cosine.max()))
    return largest if np.isfinite(largest) else float("nan")


def babel(dictionary: Dictionary, most: int) -> Floats:
    """Return `(most,)` values of the Babel function μ₁(k), k = 1 … most (Tropp 2004; MP-SAE, Costa et al. 2025).

    μ₁(k) is the sum of the k largest |cosines| of an atom with others, for the atom where it is largest; in [0, k].
    Atoms beyond the dictionary add nothing.
    """
    unit = unit_rows(dictionary)
    largest = np.zeros(most)
    for panel in row_panels(len(unit)):
        cosine = np.abs(unit[panel] @ unit.T)
        own = np.arange(panel.start, panel.stop)
        cosine[own - panel.start, own] = 0
        width = min(most, len(unit))
        top = -np.sort(-np.partition(cosine, len(unit) - width, axis=1)[:, len(unit) - width :], axis=1)
        sums = np.zeros((len(own), most))
        sums[:, :width] = top
        largest = np.maximum(largest, sums.cumsum(axis=1).max(axis=0))
    return largest


def coactivation(codes: sparse.csr_array) -> sparse.csr_array:
    """Return `(atoms, atoms)` sparse Zᵀ Z / rows of `(rows, atoms)` codes; an atom may repeat in a row, its values add.

    Parts of the data merge: weigh each part's result by its rows. Rows must be as sparse as the codes are: k² a row.
    """
    return ((codes.T @ codes) / max(codes.shape[0], 1)).tocsr()


def connectivity(coactivation: sparse.csr_array) -> float:
    """Return 1 - nnz(Zᵀ Z) / atoms²: the share of pairs of atoms that never meet; in [0, 1] (paper 1.10)."""
    return float(1 - np.count_nonzero(coactivation.data) / coactivation.shape[0] ** 2)


def negative_interference(coactivation: sparse.csr_array, dictionary: Dictionary) -> float:
    """Return ‖ReLU(-(Zᵀ Z) ∘ (D Dᵀ))‖₂: how far atoms that fire together cancel; 0 and up (paper 1.10).

    coactivation: Zᵀ Z / rows, so that it does not grow with the data as the paper's sum does; dictionary:
    `(atoms, dim)`.
    """
    product = -coactivation.data * gram_at(dictionary, coactivation)
    cancelling = sparse.csr_array(
        (np.maximum(product, 0), coactivation.indices, coactivation.indptr), coactivation.shape
    )
    cancelling.eliminate_zeros()
    if cancelling.nnz == 0:
        return 0.0
    if cancelling.shape[0] <= _DENSE_SIZE:
        return float(np.linalg.norm(cancelling.toarray(), 2))
    # symmetric and not negative: its norm is its largest eigenvalue (Perron and Frobenius)
    start = np.ones(cancelling.shape[0])
    return float(eigsh(cancelling, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def _singular_values(dictionary: Dictionary, energy: npt.NDArray[np.floating] | None) -> Floats:
    rows = np.asarray(dictionary, np.float64)
    if energy is not None:
        rows = rows * np.asarray(energy, np.float64)[:, None]
    return np.linalg.svd(rows, compute_uv=False).astype(np.float64, copy=False)
