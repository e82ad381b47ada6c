"""Exact transport of masses at given costs: POT's network simplex (Bonneel et al. 2011)."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MOST_ITERATIONS = 100_000_000


class CheapestPlan(NamedTuple):
    """The cheapest way to move masses."""

    plan: Floats
    """`(n, m)` what goes from where to where."""
    cost: float
    potentials: tuple[Floats, Floats]
    """`(n,)` and `(m,)`: together never more than a cost, and as much where something goes."""


def cheapest_plan(
    a: Floats, b: Floats, costs: npt.NDArray[np.floating], begin: tuple[Floats, Floats] | None = None
) -> CheapestPlan:
    """Move masses `(n,)`, all positive, to masses `(m,)` of the same sum at costs `(n, m)`.

    begin: potentials near those that are sought, as of masses that are alike.
    Raises UserWarning if the solver does not converge.
    """
    import ot  # POT costs a second to import and few metrics need it

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan, log = ot.emd(
            a, b, costs.astype(np.float64, copy=False), numItermax=_MOST_ITERATIONS, log=True, potentials_init=begin
        )
    return CheapestPlan(plan, float(log["cost"]), (log["u"], log["v"]))
