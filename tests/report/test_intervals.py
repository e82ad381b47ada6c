import math

import pytest

from isoenergy.report.intervals import bounds, fitting, middle, number, told, with_bounds
from tests.report.evaluations import NAN, interval


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.250"), (-0.25, "−0.250"), (math.nan, "–"), (math.inf, "∞"), (1e6, "1000000.000")]
)
def test_a_number_as_text(value: float, text: str) -> None:
    assert number(value, ".3f") == text


def test_an_interval_as_text() -> None:
    assert with_bounds({"value": 0.5, "low": -0.1, "high": 1.1}, ".0%") == "50% [−10%, 110%]"
    alone = {"value": 0.5, "low": math.nan, "high": math.nan}
    assert (with_bounds(alone, ".0%"), bounds(alone)) == ("50%", "")


@pytest.mark.parametrize(
    ("width", "form", "fits"),
    [
        (0.004, ".1f", ".3f"),
        (0.04, ".1f", ".2f"),
        (4.0, ".3f", ".1f"),
        (40.0, ".3f", ".0f"),
        (0.007, ".0%", ".1%"),
        (0.02, ".3%", ".1%"),
        (0.2, "+.3f", "+.2f"),
        (0.2, ",d", ",d"),
        (0.0, ".3f", ".3f"),
        (NAN, ".3f", ".3f"),
    ],
)
def test_a_number_has_one_or_two_digits_of_its_interval_s_width(width: float, form: str, fits: str) -> None:
    assert fitting({"value": 1.0, "low": 1.0 - width / 2, "high": 1.0 + width / 2}, form) == fits


def test_several_trainings_are_told_by_their_median_and_the_reach_of_their_intervals() -> None:
    runs = [interval(0.5), interval(0.8), interval(0.6)]
    assert told(runs[:1]) == with_bounds(runs[0])
    assert told(runs) == "0.60 [0.49, 0.81]"
    assert told([*runs, interval(NAN)]) == "0.60 [0.49, 0.81]"
    lost = {"value": 0.7, "low": NAN, "high": NAN}
    assert told([*runs, lost]) == "0.650"


@pytest.mark.parametrize(
    ("low", "value", "high", "text"),
    [
        (0.903, 0.905, 0.999, "90.5% [90.3%, 99.9%]"),
        (0.89998, 0.95, 0.999, "95.000% [89.998%, 99.900%]"),
        (0.9, 0.95, 0.99, "95% [90%, 99%]"),
        (0.93, 0.95, 0.97, "95% [93%, 97%]"),
        (math.nan, 0.9004, math.nan, "90.04%"),
        (0.899999999, 0.95, 0.99, "95.0000% [90.0000%, 99.0000%]"),
    ],
)
def test_what_is_held_against_a_threshold_does_not_read_as_it(low: float, value: float, high: float, text: str) -> None:
    assert told([{"value": value, "low": low, "high": high}], ".0%", 0.9) == text


def test_the_median_is_called_what_it_is() -> None:
    assert [middle(trainings) for trainings in (2, 3, 4)] == [
        "the mean",
        "the middle one",
        "the mean of the middle two",
    ]


def test_zero_has_no_minus_and_what_rounds_to_something_keeps_it() -> None:
    assert [number(value, ".3f") for value in (-0.0001, -0.0, -0.0006)] == ["0.000", "0.000", "−0.001"]
    assert number(-1e-5, ".1e") == "−1.0e−05"
    assert number(-0.0001, "+.1%") == "0.0%"


def test_an_interval_that_is_next_to_nothing_wide_has_four_more_digits_at_most() -> None:
    narrow = {"value": 0.9943072115078544, "low": 0.9943072115078540, "high": 0.9943072115078546}
    assert fitting(narrow, ".1%") == ".5%"
    assert with_bounds(narrow, ".1%") == "99.43072% [99.43072%, 99.43072%]"
