"""μ over any number of modalities: the paper's classes with two, the fewest that hold an atom's energy with more."""

import numpy as np

from isoenergy.statistics.concept_statistics import classes_of_scores, modality_score
from isoenergy.statistics.modality_shares import (
    modality_shares,
    normalised_entropy,
    sharing_modalities,
    subset_name,
    subset_numbers,
)

NAMES = ("a", "b", "c")


def sets_of(*energies: tuple[float, float, float]) -> list[str]:
    shares = modality_shares(np.array(energies).T)
    return [subset_name(int(number), NAMES) for number in subset_numbers(sharing_modalities(shares))]


def test_two_modalities_have_the_papers_classes() -> None:
    generator = np.random.default_rng(0)
    energies = generator.lognormal(0, 3, (2, 20_000))
    energies[:, :4] = [[0, 19, 1, 2], [0, 1, 19, 0]]
    classes = classes_of_scores(modality_score(*energies))
    image, text = sharing_modalities(modality_shares(energies))
    assert (image & text == classes.bimodal).all()
    assert (image & ~text == classes.image_only).all()
    assert (text & ~image == classes.text_only).all()
    assert (~image & ~text == classes.dead).all()
    assert min(mask.sum() for mask in vars(classes).values()) >= 1


def test_modalities_that_hold_little_together_do_not_share_an_atom() -> None:
    found = sets_of((1, 1, 1), (0.96, 0.02, 0.02), (0.94, 0.03, 0.03), (0.5, 0.46, 0.04), (0, 0.2, 0.8), (0, 0, 0))
    assert found == ["a+b+c", "a", "a+b", "a+b", "b+c", "dead"]


def test_the_entropy_goes_from_one_modality_to_all() -> None:
    shares = modality_shares(np.array([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]).T)
    np.testing.assert_allclose(normalised_entropy(shares), [0, np.log(2) / np.log(3), 1, np.nan])
    np.testing.assert_allclose(np.nansum(shares, axis=0), [1, 1, 1, 0])
