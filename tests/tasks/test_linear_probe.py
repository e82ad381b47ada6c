import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.tasks.linear_probe import chance, probe, probe_hits


def test_it_reads_what_is_there_at_any_scale_and_shift() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = np.eye(3)[labels] + 0.1 * generator.normal(size=(300, 3))
    rows = np.hstack([rows * 1e-4 + 5, np.full((300, 1), 7.0)])  # one feature does not vary
    found = probe(rows[:150], labels[:150], rows[150:], labels[150:], np.ones((150, 4)))
    assert found["accuracy"].value == found["balanced"].value == 1


def test_what_it_learns_by_heart_is_of_no_use_on_others() -> None:
    generator = np.random.default_rng(0)
    rows, labels = generator.normal(size=(600, 60)), generator.integers(2, size=600)
    assert probe_hits(rows[:80], labels[:80], rows[:80], labels[:80]).mean() > 0.9
    assert probe_hits(rows[:80], labels[:80], rows[80:], labels[80:]).mean() < 0.6


def test_always_the_most_frequent_class() -> None:
    assert chance(np.array([2, 2, 0]), np.array([2, 0, 0, 1])) == 0.25


def test_one_class_and_rows_that_are_not_finite_are_refused() -> None:
    rows = np.zeros((4, 2))
    with pytest.raises(InputError, match="two classes"):
        probe_hits(rows, np.zeros(4, int), rows, np.zeros(4, int))
    rows[1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        probe_hits(rows, np.array([0, 1, 0, 1]), rows, np.zeros(4, int))
