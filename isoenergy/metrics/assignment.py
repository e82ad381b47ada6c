"""Exact assignments and their dual potentials (Jonker & Volgenant 1987); numba takes a second to load."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isoenergy.compiling.compiled import compiled
from isoenergy.metrics.network_simplex import cheapest_plan

Floats = npt.NDArray[np.float64]

_MOST_BIDS = 4
"""Times the rows: those whose costs all but tie may bid each other down by next to nothing for long."""
_TOLERANCE = 1e-12
"""Of a path's length, relative to the largest cost: where costs differ by rounding alone, a path ends at once."""
_MOST_FREE = 0.5
"""Of the rows, after all bids; with more, paths take longer than the simplex."""


class Assignment(NamedTuple):
    """The cheapest way to give each row a column of its own."""

    costs: Floats
    """`(n,)` what each row's own column costs."""
    row_potentials: Floats
    """`(n,)`; with those of the columns: never more than the cost together, and as much where they are assigned."""
    column_potentials: Floats
    """`(n,)`. Potentials are not unique: any that are optimal are taken."""


def cheapest_assignment(cost: npt.NDArray[np.floating]) -> Assignment:
    """Solve the assignment of `(n, n)` finite costs, n ≥ 1, of either precision; all else is float64.

    Most rows get their column by bidding, the others along shortest paths. Of clouds in a few dimensions, as unimodal
    atoms rebuild them, bids settle next to nothing and paths are long: POT's network simplex takes a sixth of the time.
    Time grows with n³ at most, memory with n².
    """
    n = len(cost)
    price, column_of, row_of = cost.min(axis=0).astype(np.float64), np.full(n, -1), np.full(n, -1)
    free = _bid(cost, price, column_of, row_of, _MOST_BIDS * n) if n > 1 else np.arange(n)
    if len(free) > n * _MOST_FREE:
        return _by_simplex(cost)
    tolerance = _TOLERANCE * float(np.abs(cost).max())
    for row in free:
        _augment(cost, price, column_of, row_of, row, tolerance)
    costs = cost[np.arange(n), column_of].astype(np.float64)
    return Assignment(costs, costs - price[column_of], price)


def _by_simplex(cost: npt.NDArray[np.floating]) -> Assignment:
    masses = np.ones(len(cost))
    solved = cheapest_plan(masses, masses, cost)
    costs = cost[np.arange(len(cost)), solved.plan.argmax(axis=1)].astype(np.float64)
    return Assignment(costs, *solved.potentials)


@compiled
def _bid(cost, price, column_of, row_of, most):  # type: ignore[no-untyped-def]  # numba finds the types
    """Give rows their best column, by which its price falls to where the second best is as good; return those without.

    A row that loses its column bids next, while there are bids left.
    """
    n = len(price)
    waiting, rest, place, bids = np.arange(n), 0, 0, 0
    while place < n:
        row = waiting[place]
        place, bids = place + 1, bids + 1
        least, second, best, other = np.inf, np.inf, 0, 0
        for column in range(n):
            room = cost[row, column] - price[column]
            if room < least:
                least, second, best, other = room, least, column, best
            elif room < second:
                second, other = room, column
        lower = price[best] - (second - least)
        falls = lower < price[best]
        if falls:
            price[best] = lower
        elif row_of[best] >= 0:
            best = other
        loser = row_of[best]
        row_of[best], column_of[row] = row, best
        if loser < 0:
            continue
        column_of[loser] = -1
        if falls and bids < most:
            place -= 1
            waiting[place] = loser
        else:
            waiting[rest] = loser
            rest += 1
    return waiting[:rest].copy()


@compiled
def _augment(cost, price, column_of, row_of, start, tolerance):  # type: ignore[no-untyped-def]
    """Give a row a column by the shortest path on which rows change theirs, and lower the prices along it."""
    n = len(price)
    distance, before = np.full(n, np.inf), np.full(n, start)
    reached, final, count = np.empty(n, np.int64), np.empty(n), 0
    row, end, shift, least = start, 0, 0.0, 0.0
    while row >= 0:
        for column in range(n):
            length = cost[row, column] - price[column] - shift
            shorter = length < distance[column]  # never where it is -inf: reached
            distance[column] = length if shorter else distance[column]
            before[column] = row if shorter else before[column]
        least = free = np.inf
        for column in range(n):
            length = distance[column] if distance[column] > -np.inf else np.inf
            least = min(least, length)
            free = min(free, length if row_of[column] < 0 else np.inf)
        ends, end = free <= least + tolerance, 0
        least = free if ends else least
        while distance[end] != least or (ends and row_of[end] >= 0):
            end += 1
        reached[count], final[count], distance[end] = end, least, -np.inf
        count += 1
        row = row_of[end]
        if row >= 0:
            shift = cost[row, end] - price[end] - least
    for place in range(count):
        price[reached[place]] += final[place] - least
    while row != start:
        row = before[end]
        row_of[end] = row
        end, column_of[row] = column_of[row], end
