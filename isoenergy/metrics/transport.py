"""Exact optimal transport, cost 1 - cosine: between weighted atoms, and between clouds of embeddings."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.metrics.gram_panels import unit_rows
from isoenergy.metrics.network_simplex import cheapest_plan

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating]
Integers = npt.NDArray[np.intp]

MOST_TRANSPORTED = 16_384
"""Atoms of a dictionary whose energy is moved, 11 GB: of more, those with the most energy (`strongest_atoms`)."""


def transport_plan(a: Rows, b: Rows, mass_a: Rows, mass_b: Rows) -> tuple[sparse.csr_array, float]:
    """Return the cheapest plan from the masses at `a` to those at `b`, and its cost, in [0, 2] (paper 1.8, 1.10).

    a: `(n, dim)`; b: `(m, dim)`; mass_a: `(n,)`; mass_b: `(m,)`, not negative; each is scaled to a sum of 1. The plan
    is `(n, m)`; rows of atoms without mass are empty. Where several plans are cheapest (atoms that are equal), which
    one is returned is the solver's choice. No mass on one side: an empty plan at cost NaN.
    Time and memory grow with the atoms that have mass, n·m. Of several masses at the same places: `TransportPlans`.
    Raises UserWarning if the solver does not converge, ValueError if rows or masses are not finite.
    """
    return TransportPlans(a, b).cheapest(mass_a, mass_b)


class TransportPlans:
    """Plans between the same places under changing masses: all but the first begin where the first has ended."""

    def __init__(self, a: Rows, b: Rows) -> None:
        """a: `(n, dim)`; b: `(m, dim)`."""
        self._a, self._b = a, b
        self._potentials: tuple[Floats, Floats] | None = None
        self._known: tuple[tuple[Integers, Integers], Rows] | None = None

    def cheapest(self, mass_a: Rows, mass_b: Rows) -> tuple[sparse.csr_array, float]:
        """Return the cheapest plan and its cost: see `transport_plan`."""
        mass_a, mass_b = np.asarray(mass_a, np.float64), np.asarray(mass_b, np.float64)
        for mass in (mass_a, mass_b):
            if not (np.isfinite(mass).all() and (mass >= 0).all()):
                raise ValueError("masses must be finite and not negative")
        shape = len(self._a), len(self._b)
        if not (mass_a.any() and mass_b.any()):
            return sparse.csr_array(shape, dtype=np.float64), float("nan")
        chosen = np.flatnonzero(mass_a), np.flatnonzero(mass_b)
        masses = mass_a[chosen[0]] / mass_a.sum(), mass_b[chosen[1]] / mass_b.sum()
        solved, cost = self._solve(chosen, masses)
        rows, columns = np.nonzero(solved)
        plan = sparse.csr_array((solved[rows, columns], (chosen[0][rows], chosen[1][columns])), shape)
        return plan, cost

    def _solve(self, chosen: tuple[Integers, Integers], masses: tuple[Floats, Floats]) -> tuple[Floats, float]:
        """Return the plan between chosen rows, and its cost; masses are positive and sum to 1."""
        costs = self._costs_between(*chosen)
        known = self._potentials
        begin = None if known is None else (known[0][chosen[0]], known[1][chosen[1]])
        solved = cheapest_plan(*masses, costs, begin)
        if known is None:
            self._potentials = np.zeros(len(self._a)), np.zeros(len(self._b))
            for part, own, found in zip(self._potentials, chosen, solved.potentials, strict=True):
                part[own] = found
        return solved.plan, solved.cost

    def _costs_between(self, rows: Integers, columns: Integers) -> Rows:
        """Return the costs between chosen places: out of those of the first masses where they are among these."""
        if self._known is None:
            self._known = (rows, columns), _costs(self._a[rows], self._b[columns])
        (first_rows, first_columns), costs = self._known
        if not (np.isin(rows, first_rows).all() and np.isin(columns, first_columns).all()):
            return _costs(self._a[rows], self._b[columns])
        if len(rows) == len(first_rows) and len(columns) == len(first_columns):
            return costs
        return costs[np.ix_(np.searchsorted(first_rows, rows), np.searchsorted(first_columns, columns))]


def strongest_atoms(energy: Floats, most: int = MOST_TRANSPORTED) -> npt.NDArray[np.bool_]:
    """Return an `(atoms,)` mask of those with energy, but no more than the `most` that have the largest."""
    chosen = energy > 0
    if int(chosen.sum()) > most:
        chosen = np.zeros(len(energy), bool)
        chosen[np.argsort(-energy, kind="stable")[:most]] = True
    return chosen


class TransportGap(NamedTuple):
    """A transport cost and how far it varies with the pairs that were drawn."""

    value: float
    standard_error: float


def transport_gap(images: Rows, texts: Rows) -> TransportGap:
    """Return W, the exact cost of moving `(n, dim)` images onto `(n, dim)` texts, in [0, 2], with its standard error.

    Row i of both is one pair (paper 1.11). The error is that of the central limit theorem for transport costs (del
    Barrio & Loubes 2019): the optimal dual potentials u, v of a pair vary, √(var(uᵢ + vᵢ) / n), as an image and its
    text are drawn together; clouds that coincide have a smaller error than this. It is about W of samples of n pairs:
    that lies above W of the whole, the more so the smaller n and the more dimensions, so compare costs of one n only.
    NaN of fewer than two pairs.
    Costs have the rows' precision, float32 at least. Time and memory grow with n² and more: sub-sample first.
    Raises ValueError if rows are not finite or not pairs.
    """
    n = len(images)
    if len(texts) != n:
        raise ValueError(f"images and texts must pair up, got {n} and {len(texts)}")
    if n == 0:
        return TransportGap(float("nan"), float("nan"))
    from isoenergy.metrics.assignment import cheapest_assignment  # numba takes a second to load

    costs = _costs(images, texts, np.result_type(images, texts, np.float32))
    best = cheapest_assignment(costs)  # of equal masses none is split
    error = np.std(best.row_potentials + best.column_potentials, ddof=1) / np.sqrt(n) if n > 1 else float("nan")
    return TransportGap(float(best.costs.mean()), float(error))


def _costs(a: Rows, b: Rows, dtype: npt.DTypeLike = np.float64) -> Rows:
    for rows in (a, b):
        if not np.isfinite(rows).all():
            raise ValueError("rows must be finite to be transported")
    cost: Rows = unit_rows(a).astype(dtype, copy=False) @ unit_rows(b).astype(dtype, copy=False).T
    np.subtract(1, cost, out=cost)
    np.maximum(cost, 0, out=cost)
    return cost
