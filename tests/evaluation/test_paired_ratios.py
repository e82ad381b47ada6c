"""Ratios are those of each draw: what moves both their ends moves no ratio."""

import numpy as np
import pytest

from isoenergy.evaluation.measured_geometry import gap_closed
from isoenergy.evaluation.measured_retrieval import recall_kept


def test_a_ratio_of_numbers_that_move_together_has_no_spread() -> None:
    draws = np.concatenate([[0.5], np.linspace(0.4, 0.6, 200)])
    kept = recall_kept(draws, 0.8 * draws)
    assert (kept.value, kept.low, kept.high) == pytest.approx((0.8, 0.8, 0.8))
    closed = gap_closed(draws, 0.25 * draws)
    assert (closed.value, closed.low, closed.high) == pytest.approx((0.75, 0.75, 0.75))


def test_a_gap_that_widens_is_closed_by_less_than_nothing() -> None:
    draws = np.concatenate([[0.5], np.linspace(0.49, 0.51, 200)])
    widened = gap_closed(draws, 2 * draws[::-1][np.r_[100, :200]])
    assert widened.low < widened.value == pytest.approx(-1, abs=0.01)
    assert widened.high < -0.8


def test_the_noise_of_a_closed_gap_is_not_taken_for_a_gap() -> None:
    """After centring only noise is left, whose length replicates have twice over: all may be closed."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(400, 1)) * 0.002
    draws = np.linalg.norm(np.column_stack([noise, noise + 0.002 * generator.normal(size=(400, 200))]), axis=0)
    closed = gap_closed(np.full(201, 0.5), draws)
    assert closed.value < 0.95
    assert closed.high > 0.97


def test_nothing_to_close_or_to_keep_has_no_share() -> None:
    nothing = np.zeros(201)
    assert np.isnan([gap_closed(nothing, nothing).value, recall_kept(nothing, nothing).value]).all()
