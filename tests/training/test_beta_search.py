import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.training.beta_search import AutomaticBeta, BetaCurve, BetaMeasures, search_beta
from isoenergy.training.training_config import TrainingConfig

# Paper 3.6: beta, R², energy in always-on atoms; the cliff is between 6.58e-4 and 7.05e-4.
PAPER = np.array(
    [
        (1e-5, 0.847, 0.0),
        (1e-4, 0.846, 0.0),
        (2e-4, 0.840, 0.0),
        (2.85e-4, 0.836, 0.0),
        (4.3e-4, 0.824, 0.0),
        (5.7e-4, 0.820, 0.0),
        (6.58e-4, 0.817, 0.0),
        (7.05e-4, 0.801, 0.475),
        (1e-3, 0.755, 0.758),
        (1e-2, 0.29, 0.999),
    ]
)

Response = Callable[[float], BetaMeasures]


def of_paper(beta: float) -> BetaMeasures:
    place = np.log(max(beta, 1e-9))
    r2, always_on = (float(np.interp(place, np.log(PAPER[:, 0]), PAPER[:, column])) for column in (1, 2))
    return BetaMeasures(beta, r2, always_on, 0.3)


def cliff_at(edge: float) -> Response:
    return lambda beta: BetaMeasures(beta, 0.85, 0.0 if beta <= edge else 0.7, 0.3)


def search(response: Response, settings: AutomaticBeta | None = None) -> tuple[BetaCurve, list[tuple[float, ...]]]:
    attempts: list[tuple[float, ...]] = []

    def attempt(betas: Sequence[float]) -> list[BetaMeasures]:
        TrainingConfig(beta=tuple(betas))  # which refuses the same beta twice
        attempts.append(tuple(betas))
        return [response(beta) for beta in betas]

    curve = search_beta(settings or AutomaticBeta(), attempt)
    tried = [beta for betas in attempts for beta in betas]
    assert attempts[0][0] == 0
    assert len(tried) == len(set(tried))
    assert [item.beta for item in curve.measures] == sorted(tried)
    assert all(len(betas) <= 3 for betas in attempts[1:])
    assert len(attempts) <= 1 + (settings or AutomaticBeta()).rounds
    return curve, attempts


def test_on_the_papers_curve_it_stops_just_short_of_the_cliff() -> None:
    curve, _ = search(of_paper, AutomaticBeta(tolerance=0.05))
    passing = max(beta for beta in np.geomspace(1e-5, 1e-2, 20_000) if of_paper(beta).always_on_energy <= 0.01)
    assert passing / 10 ** (1 / 4**3) <= curve.chosen <= passing


def test_on_the_papers_curve_a_small_tolerance_stops_before_the_cliff() -> None:
    curve, _ = search(of_paper, AutomaticBeta(tolerance=0.01))
    passing = max(beta for beta in np.geomspace(1e-5, 1e-2, 20_000) if of_paper(beta).r2 >= 0.837)
    assert passing / 10 ** (1 / 4**3) <= curve.chosen <= passing


@pytest.mark.parametrize("edge", np.geomspace(1.01e-5, 0.99e-2, 37))
def test_within_the_decades_each_round_leaves_a_quarter(edge: float) -> None:
    for rounds in (1, 2, 3, 4):
        curve, _ = search(cliff_at(edge), AutomaticBeta(rounds=rounds))
        assert edge / 10 ** (1 / 4**rounds) / 1.01 <= curve.chosen <= edge


@pytest.mark.parametrize("edge", [3e-9, 4e-8, 9e-6, 2e-2, 0.5, 40.0])
def test_outside_the_decades_it_is_found_less_exactly(edge: float) -> None:
    curve, _ = search(cliff_at(edge))
    assert edge / 3.2 <= curve.chosen <= edge


def test_many_rounds_end_where_three_digits_do() -> None:
    curve, attempts = search(cliff_at(2.2e-4), AutomaticBeta(rounds=1000))
    assert curve.chosen == 2.2e-4
    assert len(attempts) < 10


def test_where_nothing_passes_there_is_no_beta() -> None:
    curve, attempts = search(cliff_at(0.0))
    assert curve.chosen == 0
    assert min(beta for beta in attempts[-1]) > 0


def test_where_everything_passes_the_largest_tried_is_taken() -> None:
    curve, attempts = search(cliff_at(math.inf))
    assert curve.chosen == max(attempts[-1]) > 1


@pytest.mark.parametrize(
    "baseline", [BetaMeasures(0.0, math.nan, 0.0, 0.3), BetaMeasures(0.0, 0.85, 0.2, 0.3)], ids=["NaN", "always on"]
)
def test_where_not_even_the_baseline_passes_nothing_is_looked_for(baseline: BetaMeasures) -> None:
    curve, attempts = search(lambda beta: baseline if beta == 0 else of_paper(beta))
    assert curve.chosen == 0
    assert len(attempts) == 1


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
def test_what_is_not_finite_does_not_pass(bad: float) -> None:
    def response(beta: float) -> BetaMeasures:
        return of_paper(beta) if beta < 1.5e-4 else replace(of_paper(beta), r2=bad)

    curve, _ = search(response)
    assert 1e-4 <= curve.chosen < 1.5e-4


def test_a_beta_above_one_that_failed_is_never_chosen() -> None:
    """Paper 3.6: from 1.3e-4 on occasional runs collapse."""

    def response(beta: float) -> BetaMeasures:
        return replace(of_paper(beta), always_on_energy=0.25) if 3e-4 < beta < 4e-4 else of_paper(beta)

    curve, _ = search(response)
    failed = min(item.beta for item in curve.measures if item.always_on_energy > 0.01)
    assert curve.chosen < failed
    assert curve.chosen > 2e-4


def test_the_table_shows_each_beta_and_its_price() -> None:
    curve, _ = search(of_paper)
    lines = curve.table().splitlines()
    assert len(lines) == 1 + len(curve.measures)
    assert sum("<- chosen" in line for line in lines) == 1
    assert lines[-1].split() == ["0.01", "0.2900", "+0.5570", "99.9%", "30.0%"]


@pytest.mark.parametrize("wrong", [{"tolerance": 0.0}, {"always_on": math.inf}, {"rounds": 0}, {"epochs": -1}])
def test_impossible_bounds_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        AutomaticBeta(**wrong)
