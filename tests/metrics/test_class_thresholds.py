import numpy as np
import pytest

from isoenergy.metrics.class_thresholds import THRESHOLDS, mass_with_bimodal_side
from isoenergy.statistics.concept_statistics import classes_of_scores

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_a_planted_bridge_is_bimodal_up_to_the_score_of_its_better_side() -> None:
    """Mass 3 from an image atom to one at μ = 0.9, mass 1 between two unimodal atoms."""
    scores = column(1.0, 0.999), column(0.9, 0.002)
    share = mass_with_bimodal_side(column(3.0, 1.0), scores, np.array([0.001, 0.005, 0.05, 0.0999, 0.11, 0.5]))
    np.testing.assert_allclose(share[:, 0], [1.0, 0.75, 0.75, 0.75, 0.0, 0.0])


def test_at_each_cut_the_share_is_that_of_the_classes() -> None:
    generator = np.random.default_rng(0)
    masses, image, text = (generator.random((200, 3)) for _ in range(3))
    image[::7], text[::7] = NAN, NAN
    masses[::7] = 0
    found = mass_with_bimodal_side(masses, (image, text))
    for place, epsilon in enumerate(THRESHOLDS):
        bimodal = classes_of_scores(image, epsilon).bimodal | classes_of_scores(text, epsilon).bimodal
        np.testing.assert_allclose(found[place], (masses * bimodal).sum(0) / masses.sum(0))


def test_a_dead_side_leaves_the_other_to_decide_and_no_mass_has_no_share() -> None:
    found = mass_with_bimodal_side(np.array([[1.0, 0.0]]), (np.array([[NAN, 0.5]]), np.array([[0.5, 0.5]])))
    assert found[0, 0] == 1.0
    assert np.isnan(found[:, 1]).all()


def test_the_paper_s_cut_is_within_the_thresholds() -> None:
    assert THRESHOLDS[0] == pytest.approx(0.005)
    assert THRESHOLDS[-1] == pytest.approx(0.5)
    assert (np.diff(THRESHOLDS) > 0).all()
