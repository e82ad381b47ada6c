"""Which atoms each atom is bound to across a bridge."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse


@dataclass(frozen=True)
class Partners:
    """The strongest other atoms across a bridge; arrays of one length, by atom, the strongest first."""

    atoms: npt.NDArray[np.int64]
    partners: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    """The bridge's entries, signed."""
    atom_is_image: npt.NDArray[np.bool_]
    """The atom is the entry's image side and its partner the text side; False: the other way round."""


def strongest_partners(bridge: sparse.csr_array, count: int) -> Partners:
    """Return for each atom at most `count` entries of its row and its column of |B|, but the one on the diagonal.

    bridge: `(atoms, atoms)`, rows the image side, columns the text side (`isoenergy.metrics.bridges`). An atom may be a
    partner twice, once on each side.
    """
    sides = [_strongest_in_rows(bridge, count), _strongest_in_rows(bridge.T.tocsr(), count)]
    atoms, partners, weights = (np.concatenate(both) for both in zip(*sides, strict=True))
    is_image = np.repeat([True, False], [len(side[0]) for side in sides])
    order = np.lexsort((partners, -np.abs(weights), atoms))
    ranks = np.arange(len(order)) - np.searchsorted(atoms[order], atoms[order])
    kept = order[ranks < count]
    return Partners(atoms[kept], partners[kept], weights[kept], is_image[kept])


def _strongest_in_rows(
    matrix: sparse.csr_array, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rows, places = [], []
    for row, (first, last) in enumerate(zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)):
        others = first + np.flatnonzero((matrix.indices[first:last] != row) & (matrix.data[first:last] != 0))
        if len(others) > count:
            others = others[np.argpartition(-np.abs(matrix.data[others]), count)[:count]]
        rows.append(np.full(len(others), row))
        places.append(others)
    chosen = np.concatenate([np.zeros(0, np.int64), *places])
    return np.concatenate([np.zeros(0, np.int64), *rows]), matrix.indices[chosen].astype(np.int64), matrix.data[chosen]
