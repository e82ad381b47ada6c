import numpy as np
from scipy import sparse

from isoenergy.metrics.partners import strongest_partners

ATOMS, COUNT = 30, 4


def test_they_are_the_largest_entries_of_row_and_column_off_the_diagonal() -> None:
    generator = np.random.default_rng(0)
    bridge = sparse.random_array((ATOMS, ATOMS), density=0.3, rng=generator, format="csr")
    bridge.data -= 0.5
    found = strongest_partners(bridge, COUNT)
    dense = bridge.toarray()
    for atom in range(ATOMS):
        entries = [(dense[atom, other], other, True) for other in range(ATOMS) if other != atom]
        entries += [(dense[other, atom], other, False) for other in range(ATOMS) if other != atom]
        expected = sorted((entry for entry in entries if entry[0]), key=lambda entry: -abs(entry[0]))[:COUNT]
        own = found.atoms == atom
        columns = (found.weights[own], found.partners[own], found.atom_is_image[own])
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected


def test_an_atom_without_a_bridge_has_no_partner() -> None:
    bridge = sparse.csr_array(np.diag([1.0, 2.0, 0.0]))
    assert len(strongest_partners(bridge, COUNT).atoms) == 0
