"""The cheapest assignment, and potentials that prove it is."""

import numpy as np
import pytest

from isoenergy.metrics.assignment import cheapest_assignment

GENERATOR = np.random.default_rng(0)
COSTS = {
    "one": np.array([[2.0]]),
    "all equal": np.ones((30, 30)),
    "zeros": np.zeros((5, 5)),
    "noise": GENERATOR.uniform(size=(120, 120)),
    "of either sign": GENERATOR.normal(size=(120, 120)),
    "repeated rows and columns": GENERATOR.uniform(size=(9, 9)).repeat(12, axis=0).repeat(12, axis=1),
    "a few values": GENERATOR.integers(0, 3, size=(90, 90)).astype(float),
    "large": 1e9 * GENERATOR.uniform(size=(60, 60)),
    "rounding alone": 0.3 + 1e-16 * GENERATOR.normal(size=(150, 150)),
    "clouds on top of each other": np.cos(np.subtract.outer(*GENERATOR.normal(0.0, 1e-8, size=(2, 150)))),
    "of rank one": np.outer(GENERATOR.uniform(size=80), GENERATOR.uniform(size=80)),
}


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@pytest.mark.parametrize("name", COSTS)
def test_potentials_prove_that_nothing_is_cheaper(name: str, precision: type[np.floating]) -> None:
    """Of any assignment the costs are at least all potentials together: whatever reaches that is the cheapest."""
    cost = COSTS[name].astype(precision)
    best = cheapest_assignment(cost)
    most = np.abs(cost).max()
    room = cost - best.row_potentials[:, None] - best.column_potentials
    assert room.min() >= -1e-11 * most
    bound = best.row_potentials.sum() + best.column_potentials.sum()
    assert best.costs.sum() == pytest.approx(bound, abs=1e-11 * most * len(cost))
    assert (best.costs >= cost.min(axis=1)).all()
