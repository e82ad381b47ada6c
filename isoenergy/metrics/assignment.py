"""Exact assignments and their dual potentials; the kernel is numba's, a second to load."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from isoenergy.compiling.compiled import compiled

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1e-12
"""Of a potential, relative to the largest cost: what rounding makes of a cycle without cost must not go round."""


class Assignment(NamedTuple):
    """The cheapest way to give each row a column of its own."""

    costs: Floats
    """`(n,)` what each row's own column costs."""
    row_potentials: Floats
    """`(n,)`; with those of the columns: never more than the cost together, and as much where they are assigned."""
    column_potentials: Floats
    """`(n,)`. Potentials are not unique: any that are optimal are taken."""


def cheapest_assignment(cost: Floats) -> Assignment:
    """Solve the assignment of `(n, n)` finite costs, n ≥ 1: scipy's Jonker–Volgenant, shortest paths for its duals.

    Time grows with n³ at most, memory with n².
    """
    reduced = cost - cost.min(axis=1, keepdims=True)  # the same assignment, sooner found
    reduced -= reduced.min(axis=0)
    rows, columns = linear_sum_assignment(reduced)
    costs = cost[rows, columns]
    row_of = np.empty_like(rows)
    row_of[columns] = rows
    potentials = _shortest_paths(cost, costs, row_of, _TOLERANCE * np.abs(cost).max())
    return Assignment(costs, costs - potentials[columns], potentials)


@compiled
def _shortest_paths(cost, costs, row_of, tolerance):  # type: ignore[no-untyped-def]  # numba finds the types
    """Return each column's distance from a node that is 0 from all; from a column it goes on by the row that has it."""
    n = len(costs)
    distance, waiting, is_waiting = np.zeros(n), np.arange(n), np.ones(n, np.bool_)
    first, count = 0, n
    while count:
        column = waiting[first]
        first, count, is_waiting[column] = (first + 1) % n, count - 1, False
        row = row_of[column]
        start = distance[column] - costs[row]
        for reached in range(n):
            length = start + cost[row, reached]
            if length < distance[reached] - tolerance:
                distance[reached] = length
                if not is_waiting[reached]:
                    waiting[(first + count) % n] = reached
                    count, is_waiting[reached] = count + 1, True
    return distance
