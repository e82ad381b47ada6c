import math

import pytest

from isoenergy.report.intervals import bounds, number, with_bounds


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.250"), (-0.25, "−0.250"), (math.nan, "–"), (math.inf, "∞"), (1e6, "1000000.000")]
)
def test_a_number_as_text(value: float, text: str) -> None:
    assert number(value, ".3f") == text


def test_an_interval_as_text() -> None:
    assert with_bounds({"value": 0.5, "low": -0.1, "high": 1.1}, ".0%") == "50% [−10%, 110%]"
    assert bounds({"value": 0.5, "low": math.nan, "high": math.nan}) == "[no interval]"
