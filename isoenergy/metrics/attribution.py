"""C-insertion and C-deletion: how few atoms of a row carry its reconstruction (paper 1.10)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.metrics.reconstruction import VARIANCE_FLOOR

Floats = npt.NDArray[np.float64]

_BLOCK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class FaithfulnessCurves:
    """R² (paper 1.6, against the scalar mean) after 0, 1, … K of each row's atoms, strongest first."""

    insertion: Floats
    """`(K + 1,)` keeping only those atoms: from about 0 up to the R² of the whole code."""
    deletion: Floats
    """`(K + 1,)` removing those atoms: from the R² of the whole code down to about 0."""

    @property
    def c_insertion(self) -> float:
        """Mean of the insertion curve; at most 1, higher is better."""
        return float(self.insertion.mean())

    @property
    def c_deletion(self) -> float:
        """Mean of the deletion curve; at most 1, lower is better."""
        return float(self.deletion.mean())


def integrated_gradients(
    codes: sparse.csr_array, x: npt.NDArray[np.floating], dictionary: npt.NDArray[np.floating], steps: int | None = None
) -> sparse.csr_array:
    """Return `(rows, atoms)` sparse attributions of the fall of ‖x - z D‖² to each atom of a row's code z.

    Integrated gradients from no code to z: z_j ∫₀¹ -∂/∂z_j ‖x - α z D‖² dα. The decoder is linear and the codes are
    held fixed, so the gradient is linear in α and the integral is closed: z_j d_j · (2 x - x̂), x̂ = z D. They add up
    to ‖x‖² - ‖x - x̂‖². A sum over `steps` right end points, as the paper's 10, is z_j d_j · (2 x - (1 + 1/steps) x̂).

    codes: `(rows, atoms)`; x: `(rows, dim)`; dictionary: `(atoms, dim)`; steps: None for the integral.
    """
    codes = _merged(codes)
    dictionary, x = np.asarray(dictionary, np.float64), np.asarray(x, np.float64)
    found = np.empty(codes.nnz)
    for block in _blocks(codes, dictionary.shape[1]):
        part = codes[block]
        toward = 2 * x[block] - (1 + (1 / steps if steps else 0)) * (part @ dictionary)
        owner = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        gain = part.data * np.einsum("ij,ij->i", dictionary[part.indices], toward[owner])
        found[codes.indptr[block.start] : codes.indptr[block.stop]] = gain
    return sparse.csr_array((found, codes.indices, codes.indptr), codes.shape)


def faithfulness_curves(
    codes: sparse.csr_array, x: npt.NDArray[np.floating], dictionary: npt.NDArray[np.floating], steps: int | None = None
) -> FaithfulnessCurves:
    """Insert and delete each row's atoms in the order of their `integrated_gradients`, ties by index (paper 1.10).

    Arguments as for `integrated_gradients`, rows of one modality; the paper averages the modalities by their rows.
    K is the number of atoms of the fullest row; a row with fewer stays as it ends. Only a row's own atoms are ranked.
    The paper's code ranks the others too, at 0, ahead of atoms that do harm; it leaves out k = K, and divides the sum
    of the other K points by K + 1.
    """
    codes = _merged(codes)
    x, dictionary = np.asarray(x, np.float64), np.asarray(dictionary, np.float64)
    gains = integrated_gradients(codes, x, dictionary, steps)
    active = np.diff(codes.indptr)
    most = int(active.max(initial=0))
    inserted, deleted = np.zeros(most + 1), np.zeros(most + 1)
    for block in _blocks(codes, dictionary.shape[1]):
        part, gain = codes[block], gains[block]
        owner = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        order = np.lexsort((part.indices, -gain.data, owner))
        place = np.arange(len(order)) - part.indptr[owner]
        steps_up = np.zeros((part.shape[0], most + 1, dictionary.shape[1]))
        steps_up[owner, place + 1] = part.data[order, None] * dictionary[part.indices[order]]
        kept = steps_up.cumsum(axis=1)
        residual = x[block] - kept[:, -1]
        inserted += np.square(x[block][:, None] - kept).sum(axis=(0, 2))
        deleted += np.square(residual[:, None] + kept).sum(axis=(0, 2))
    if x.size == 0:
        return FaithfulnessCurves(np.full(most + 1, np.nan), np.full(most + 1, np.nan))
    scale = x.size * (np.square(x - x.mean()).mean() + VARIANCE_FLOOR)
    return FaithfulnessCurves(1 - inserted / scale, 1 - deleted / scale)


def _merged(codes: sparse.csr_array) -> sparse.csr_array:
    """Codes in which no atom repeats in a row and none is 0, in float64."""
    codes = sparse.csr_array(codes, dtype=np.float64, copy=True)
    codes.sum_duplicates()
    codes.eliminate_zeros()
    return codes


def _blocks(codes: sparse.csr_array, dim: int) -> Iterator[slice]:
    widest = int(np.diff(codes.indptr).max(initial=0)) + 1
    rows = max(1, _BLOCK_ENTRIES // (widest * dim))
    for start in range(0, codes.shape[0], rows):
        yield slice(start, min(start + rows, codes.shape[0]))
