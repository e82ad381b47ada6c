"""Exact optimal transport between weighted atoms, cost 1 - cosine."""

import warnings

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.metrics.gram import unit_rows

Floats = npt.NDArray[np.float64]

_MOST_ITERATIONS = 100_000_000


def transport_plan(
    a: npt.NDArray[np.floating],
    b: npt.NDArray[np.floating],
    mass_a: npt.NDArray[np.floating],
    mass_b: npt.NDArray[np.floating],
) -> tuple[sparse.csr_array, float]:
    """Return the cheapest plan from the masses at `a` to those at `b`, and its cost, in [0, 2] (paper 1.8, 1.10).

    a: `(n, dim)`; b: `(m, dim)`; mass_a: `(n,)`; mass_b: `(m,)`, not negative; each is scaled to a sum of 1. The plan
    is `(n, m)`; rows of atoms without mass are empty. Where several plans are cheapest (atoms that are equal), which
    one is returned is the solver's choice. No mass on one side: an empty plan at cost NaN.
    Time and memory grow with the atoms that have mass, n·m.
    Raises UserWarning if the solver does not converge.
    """
    import ot  # POT costs a second to import and few metrics need it

    mass_a, mass_b = np.asarray(mass_a, np.float64), np.asarray(mass_b, np.float64)
    for mass in (mass_a, mass_b):
        if not (np.isfinite(mass).all() and (mass >= 0).all()):
            raise ValueError("masses must be finite and not negative")
    shape = len(a), len(b)
    if not (mass_a.any() and mass_b.any()):
        return sparse.csr_array(shape, dtype=np.float64), float("nan")
    sources, targets = np.flatnonzero(mass_a), np.flatnonzero(mass_b)
    cost = np.maximum(1 - unit_rows(a[sources]) @ unit_rows(b[targets]).T, 0)
    given, taken = mass_a[sources] / mass_a.sum(), mass_b[targets] / mass_b.sum()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dense = ot.emd(given, taken, cost, numItermax=_MOST_ITERATIONS)
    rows, columns = np.nonzero(dense)
    moved = dense[rows, columns]
    plan = sparse.csr_array((moved, (sources[rows], targets[columns])), shape)
    return plan, float(moved @ cost[rows, columns])
