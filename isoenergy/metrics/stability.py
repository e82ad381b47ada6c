"""Whether two dictionaries say the same: matched atoms, transported energy, and their nulls (paper 1.10, 3.7)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from isoenergy.metrics.gram_panels import unit_rows
from isoenergy.metrics.transport import transport_plan

Floats = npt.NDArray[np.float64]
Dictionary = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Matching:
    """The assignment of atoms of one dictionary to atoms of another with the largest sum of cosines."""

    first: npt.NDArray[np.intp]
    """`(matched,)` atoms of the first dictionary; all of the smaller dictionary's atoms are matched."""
    second: npt.NDArray[np.intp]
    """`(matched,)` their partners in the second."""
    cosine: Floats
    """`(matched,)` the cosine of each pair of atoms."""

    @property
    def mean(self) -> float:
        """Stability: the mean cosine of matched atoms, in [-1, 1]."""
        return float(self.cosine.mean()) if len(self.cosine) else float("nan")

    def weighted_mean(self, energy: npt.NDArray[np.floating]) -> float:
        """Return the mean cosine weighted by the first dictionary's `(atoms,)` energies; NaN without energy."""
        weight = np.asarray(energy, np.float64)[self.first]
        return float(weight @ self.cosine / weight.sum()) if weight.sum() > 0 else float("nan")


def match_atoms(first: Dictionary, second: Dictionary) -> Matching:
    """Match `(m, dim)` and `(n, dim)` atoms one to one, exactly (Hungarian; Papadimitriou et al. 2025)."""
    cosine = unit_rows(first) @ unit_rows(second).T
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return Matching(rows, columns, cosine[rows, columns])


def random_matching(first: Dictionary, atoms: int, draws: int, seed: int) -> Floats:
    """Return `(draws,)` mean matched cosines of `first` with dictionaries of `atoms` random directions: the null."""
    generator = np.random.default_rng(seed)
    shape = (atoms, first.shape[1])
    return np.array([match_atoms(first, generator.standard_normal(shape)).mean for _ in range(draws)])


def energy_transport(
    first: Dictionary,
    second: Dictionary,
    first_energy: npt.NDArray[np.floating],
    second_energy: npt.NDArray[np.floating],
) -> float:
    """Return the exact cost of moving one dictionary's energy onto the other's, cost 1 - cosine; in [0, 2].

    first: `(m, dim)`; second: `(n, dim)`; first_energy: `(m,)`; second_energy: `(n,)`, each scaled to a sum of 1.
    NaN if one has no energy. The paper's W between dictionaries (1.10, 2.3, 3.7); norms of atoms do not count.
    """
    return transport_plan(first, second, first_energy, second_energy)[1]


def permuted_transport(
    first: Dictionary,
    second: Dictionary,
    first_energy: npt.NDArray[np.floating],
    second_energy: npt.NDArray[np.floating],
    draws: int,
    seed: int,
) -> Floats:
    """Return `(draws,)` costs with both dictionaries' energies permuted over their atoms: the null (paper 3.7)."""
    generator = np.random.default_rng(seed)
    return np.array(
        [
            energy_transport(first, second, generator.permutation(first_energy), generator.permutation(second_energy))
            for _ in range(draws)
        ]
    )
