"""How far atoms are shared: which of them are tested, and how many lie in between."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.evaluation.results import UNEQUAL_Q

IN_BETWEEN = (0.05, 0.95)
"""Of the sharedness: neither of one modality nor evenly shared."""


@dataclass(frozen=True)
class SharednessCounts:
    """How many atoms fire, of those how many in pairs enough to be tested, and what the tests say."""

    live: int
    tested: int
    unequal: int
    """Equal energy is rejected."""
    between: int
    """The whole interval of the sharedness lies between 0.05 and 0.95: neither of one modality nor evenly shared."""
    between_energy: float
    """Their share of the energy of all."""
    between_cut: int
    """Of these, how many the cut of the modality score at 0.05 calls unimodal."""

    @classmethod
    def of(cls, atoms: pa.Table) -> Self:
        """Count in a table of atoms (`isoenergy.evaluation.exemplars.atoms_table`)."""
        energy, live = atoms["energy"].to_numpy(), live_atoms(atoms)
        between = np.isin(atoms["atom"].to_numpy(), _between(live)["atom"].to_numpy())
        kinds = np.array(atoms["class"].to_pylist())
        return cls(
            live=len(live),
            tested=len(tested_atoms(live)),
            unequal=int(pc.sum(pc.less(live["q_value"], UNEQUAL_Q)).as_py() or 0),
            between=int(between.sum()),
            between_energy=float(energy[between].sum() / max(energy.sum(), 1e-30)),
            between_cut=int((kinds[between] != "bimodal").sum()),
        )


def live_atoms(atoms: pa.Table) -> pa.Table:
    """Return the rows of the atoms that fire."""
    return atoms.filter(pc.greater(atoms["energy"], 0))


def tested_atoms(atoms: pa.Table) -> pa.Table:
    """Return the rows of the atoms that fire in pairs enough to be tested for equal energy."""
    return atoms.filter(pc.is_valid(atoms["p_value"]))


def _between(live: pa.Table) -> pa.Table:
    tested = tested_atoms(live)
    inside = pc.and_(
        pc.greater(tested["sharedness_low"], IN_BETWEEN[0]), pc.less(tested["sharedness_high"], IN_BETWEEN[1])
    )
    return tested.filter(inside)
