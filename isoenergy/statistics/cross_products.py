"""Sums over pairs of the products of two codes' coefficients; the kernel is numba's, a second to load."""

import numpy as np
from scipy import sparse

from isoenergy.compiling.compiled import compiled_exactly

_ENTRIES_A_PRODUCT = 8
"""Of atoms², up to which a look at each entry costs less than scipy's lists of those that are there."""


def cross_products(image: sparse.csr_array, text: sparse.csr_array) -> sparse.csr_array:
    """Return imageᵀ · text, `(atoms, atoms)`, of `(pairs, atoms)` codes: a row of atoms at a time where many meet.

    Sums are float64's in the order of pairs; those that come to 0 are left out.
    """
    atoms = image.shape[1]
    products = int(np.diff(image.indptr).astype(np.int64) @ np.diff(text.indptr))
    if _ENTRIES_A_PRODUCT * products < atoms**2:
        return (image.T @ text).tocsr()
    by_atom, most = image.tocsc(), min(products, atoms**2)
    kind = np.int32 if most <= np.iinfo(np.int32).max else np.int64
    starts, columns, sums = np.zeros(atoms + 1, kind), np.empty(most + 1, kind), np.empty(most + 1)
    _sum_products(
        *(by_atom.indptr, by_atom.indices, by_atom.data), *(text.indptr, text.indices, text.data), starts, columns, sums
    )
    found = int(starts[-1])
    return sparse.csr_array((sums[:found].copy(), columns[:found].copy(), starts), (atoms, atoms))


@compiled_exactly
def _sum_products(  # type: ignore[no-untyped-def]  # numba finds the types
    atom_starts, pairs, own, text_starts, text_atoms, others, starts, columns, sums
):
    """Write row after row of the sums that are not 0: both outputs have room for one more than there can be."""
    atoms = len(starts) - 1
    row = np.zeros(atoms)
    found = 0
    for atom in range(atoms):
        first, last = atom_starts[atom], atom_starts[atom + 1]
        for place in range(first, last):
            value = own[place]
            for other in range(text_starts[pairs[place]], text_starts[pairs[place] + 1]):
                row[text_atoms[other]] += value * others[other]
        if last > first:
            for column in range(atoms):
                sums[found], columns[found] = row[column], column
                found += row[column] != 0
                row[column] = 0
        starts[atom + 1] = found
