import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from isoenergy.errors import InputError
from isoenergy.tasks import linear_probe
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


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_logistic_regression_of_scikit_learn(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_probe, "_TOLERANCE", 1e-6)
    generator = np.random.default_rng(1)
    labels = generator.choice(classes, size=500, p=generator.dirichlet(np.full(classes, 2.0)))
    centres, widths = 0.4 * generator.normal(size=(classes, 12)), 3.0 ** -np.arange(12)
    rows = widths * (centres[labels] + generator.normal(size=(500, 12)))
    both = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10_000)).fit(rows[:300], labels[:300])
    right = both.predict(rows[300:]) == labels[300:]
    assert 0.3 < right.mean() < 0.97
    np.testing.assert_array_equal(probe_hits(rows[:300], labels[:300], rows[300:], labels[300:]), right)


def test_always_the_most_frequent_class() -> None:
    assert chance(np.array([2, 2, 0]), np.array([2, 0, 0, 1])) == 0.25


def test_one_class_and_rows_that_are_not_finite_are_refused() -> None:
    rows = np.zeros((4, 2))
    with pytest.raises(InputError, match="two classes"):
        probe_hits(rows, np.zeros(4, int), rows, np.zeros(4, int))
    rows[1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        probe_hits(rows, np.array([0, 1, 0, 1]), rows, np.zeros(4, int))
