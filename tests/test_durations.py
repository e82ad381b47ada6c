import pytest

from isoenergy.durations import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "< 0.1 s"),
        (0.05, "0.1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (72.4, "1 min 12 s"),
        (3599.6, "1 h 0 min"),
        (7530, "2 h 5 min"),
    ],
)
def test_a_time_has_two_units_at_most(seconds: float, said: str) -> None:
    assert duration(seconds) == said
