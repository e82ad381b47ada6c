import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune.trials import trial
from tune.objectives import Objectives

TWO = Objectives(("r2", "bimodal-energy"))
unit = st.floats(0, 1)


@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=12))
def test_the_front_is_what_no_other_betters(points: list[tuple[float, float]]) -> None:
    trials = [trial(*point) for point in points]
    better = [
        n for n, (x, y) in enumerate(points) if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
    assert TWO.front(trials) == better


@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=6))
def test_the_hypervolume_of_two_objectives_is_the_area_below_the_stairs(points: list[tuple[float, float]]) -> None:
    corners = sorted(points)
    area, left = 0.0, 0.0
    for number, (x, _) in enumerate(corners):
        area += (x - left) * max(y for _, y in corners[number:])
        left = x
    assert TWO.hypervolume([trial(*point) for point in points]) == pytest.approx(area, abs=1e-12)


def test_what_diverged_or_is_worth_nothing_dominates_nothing() -> None:
    assert TWO.hypervolume([]) == 0
    assert TWO.hypervolume([trial(-3.0, 1.0)]) == 0
    assert TWO.hypervolume([trial(float("nan"), 1.0)]) == 0
    assert TWO.hypervolume([trial(1.0, 1.0)]) == 1


@pytest.mark.parametrize(
    ("name", "measure", "worse", "better"),
    [("mse", "mse", 0.4, 0.1), ("always-on-energy", "always_on_energy", 0.5, 0.0), ("delta-r1", "delta_r1", -0.5, 0.0),
     ("p-acc", "p_acc", 0.6, 0.9)],
)  # fmt: skip
def test_each_objective_knows_which_way_is_better(name: str, measure: str, worse: float, better: float) -> None:
    objectives = Objectives(("r2", name))  # type: ignore[arg-type]
    bad, good = trial(0.9, **{measure: worse}), trial(0.9, **{measure: better})
    assert (objectives.gains(good) >= objectives.gains(bad)).all()
    assert objectives.gains(good)[1] > objectives.gains(bad)[1]
    assert objectives.front([bad, good]) == [1]


def test_the_recommended_trial_is_the_most_aligned_of_those_near_the_best_r2() -> None:
    trials = [trial(0.90, 0.3), trial(0.8911, 0.6), trial(0.8909, 0.9), trial(0.5, 1.0)]
    assert TWO.recommended(trials, within=0.01) == 1
    assert TWO.recommended(trials, within=0.0) == 0
    assert TWO.recommended(trials, within=0.5) == 3
    assert TWO.recommended([], within=0.5) is None
    assert TWO.recommended([trial(float("nan")), trial(0.1)], within=0.01) == 1


def test_less_always_on_energy_is_more_aligned() -> None:
    objectives = Objectives(("r2", "always-on-energy"))
    trials = [trial(0.9, always_on_energy=0.2), trial(0.9, always_on_energy=0.0)]
    assert objectives.recommended(trials, 0.01) == 1
    assert "lowest always_on_energy" in objectives.rule(0.01)


def test_the_recommended_trial_is_on_the_front_whatever_the_order() -> None:
    trials = [trial(0.9, 0.5), trial(0.895, 0.5), trial(0.9, 0.4)]
    for order in itertools.permutations(range(3)):
        mixed = [trials[number] for number in order]
        chosen = TWO.recommended(mixed, 0.01)
        assert chosen is not None
        assert chosen in TWO.front(mixed)
        assert np.array_equal(TWO.gains(mixed[chosen]), TWO.gains(trials[0]))
