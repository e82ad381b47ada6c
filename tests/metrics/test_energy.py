import numpy as np
import pytest

from isoenergy.metrics.energy import (
    crossed_score_spread,
    energy_shares,
    first_moment,
    first_moment_score,
    frequency_matched_energies,
    modality_bias,
    modality_frequency,
    modality_score,
    score_spread,
)
from tests.metrics.cases import modal_codes, random_codes, random_dictionary, statistics_of, unit

ATOMS = 20


@pytest.fixture(params=[0, 1])
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    image, text = modal_codes(request.param, 50, ATOMS)
    image[:48, 13] = text[:, 13] = 1
    return image, text[:37]


def test_moments_and_frequencies_are_the_formulas(case) -> None:
    image, text = case
    statistics = statistics_of(image, text)
    np.testing.assert_allclose(first_moment(statistics.image), np.abs(image).mean(0), atol=1e-12)
    np.testing.assert_allclose(statistics.image.energy, (image**2).mean(0), atol=1e-12)
    np.testing.assert_allclose(modality_frequency(statistics.text), (text != 0).mean(0), atol=1e-12)
    np.testing.assert_allclose(statistics.frequency, (np.vstack([image, text]) != 0).mean(0), atol=1e-12)


def test_first_moment_score_is_the_formula_and_undefined_for_the_dead(case) -> None:
    image, text = case
    i, t = image.mean(0), text.mean(0)
    score = first_moment_score(statistics_of(image, text))
    np.testing.assert_allclose(score[:-1], i[:-1] / (i + t)[:-1], atol=1e-12)
    assert np.isnan(score[-1])


def test_coefficients_below_zero_keep_the_first_moment_score_in_its_range() -> None:
    codes = random_codes(0, 60, 8, negative=True)
    score = first_moment_score(statistics_of(codes, codes[::-1]))
    np.testing.assert_allclose(score, 0.5)


def test_modality_score_with_unequal_counts() -> None:
    # the paper's E_I / (2 E), E the mean over all inputs, is right for equal counts only: it gives 1 (paper 5.3, 18)
    image, text = np.array([[2.0]]), np.array([[0.0], [0.0], [2.0]])
    statistics = statistics_of(image, text)
    assert (image**2).mean() / (2 * (np.vstack([image, text]) ** 2).mean()) == 1
    assert statistics.modality_score == pytest.approx(3 / 4)


def test_spread_is_the_formula(case) -> None:
    statistics = statistics_of(*case)
    mu, energy = statistics.modality_score, statistics.energy
    total, weights = 0.0, 0.0
    for m, e in zip(mu[:-1], energy[:-1], strict=True):
        total, weights = total + e * (m - 0.5) ** 2, weights + e
    assert score_spread(mu, energy) == pytest.approx((total / weights) ** 0.5, abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_spread_at_its_ends() -> None:
    assert score_spread(np.array([0.0, 1, np.nan]), np.array([1.0, 5, 0])) == 0.5
    assert score_spread(np.array([0.5]), np.array([2.0])) == 0
    assert np.isnan(score_spread(np.array([np.nan]), np.array([0.0])))


def test_shares_are_the_formulas(case) -> None:
    image, text = case
    energy_of = {"image": (image**2).mean(0), "text": (text**2).mean(0)}
    energy = (energy_of["image"] + energy_of["text"]) / 2
    live = energy > 0
    mu = np.where(live, energy_of["image"] / np.where(live, 2 * energy, 1), np.nan)
    frequent = (np.vstack([image, text]) != 0).mean(0) > 0.9
    bimodal = (mu >= 0.05) & (mu <= 0.95)
    shares = energy_shares(statistics_of(image, text))
    assert frequent.sum() == 1
    assert shares.image_only == pytest.approx(energy[mu > 0.95].sum() / energy.sum(), abs=1e-12)
    assert shares.text_only == pytest.approx(energy[mu < 0.05].sum() / energy.sum(), abs=1e-12)
    assert shares.bimodal == pytest.approx(energy[bimodal].sum() / energy.sum(), abs=1e-12)
    assert shares.always_on == pytest.approx(energy[frequent].sum() / energy.sum(), abs=1e-12)
    assert shares.bimodal_not_always_on == pytest.approx(energy[bimodal & ~frequent].sum() / energy.sum(), abs=1e-12)
    assert shares.image_only + shares.text_only + shares.bimodal == pytest.approx(1)


@pytest.mark.filterwarnings("error")
def test_no_energy_has_no_shares() -> None:
    shares = energy_shares(statistics_of(np.zeros((2, 3)), np.zeros((2, 3))))
    assert set(vars(shares).values()) == {0.0}


def test_modality_bias_is_the_formula(case) -> None:
    statistics, dictionary = statistics_of(*case), 2 * random_dictionary(3, ATOMS, 4)
    members = statistics.classes(1e-3).image_only
    least = float(np.median(statistics.energy[members]))
    found = modality_bias(statistics, dictionary, members, least)
    strong = [atom for atom in np.flatnonzero(members) if statistics.energy[atom] > least]
    rows = unit(dictionary[strong])
    cosines = [rows[i] @ rows[j] for i in range(len(rows)) for j in range(len(rows)) if i != j]
    assert found.atoms == len(strong) == 3
    assert found.mean_cosine == pytest.approx(np.mean(cosines), abs=1e-12)
    assert found.energy_share == pytest.approx(statistics.energy[strong].sum() / statistics.energy.sum())
    assert np.isnan(modality_bias(statistics, dictionary, members, 1e9).mean_cosine)


def test_at_equal_frequencies_an_atom_that_only_fires_more_often_is_shared() -> None:
    image, text = np.zeros((40, 3)), np.zeros((40, 3))
    image[:40, 0], text[:4, 0] = 2.0, 2.0  # as strong, ten times as often
    image[:10, 1], text[:10, 1] = 3.0, 1.0  # as often, three times as strong
    image[:10, 2] = 1.0  # of images alone
    statistics = statistics_of(image, text)
    matched = frequency_matched_energies(statistics)
    np.testing.assert_allclose(matched, [[0.4, 2.25, 0], [0.4, 0.25, 0]])
    np.testing.assert_allclose(modality_score(*matched), [0.5, 0.9, np.nan])


def test_the_spread_of_scores_crossed_with_their_own_is_itself_and_with_others_has_no_noise() -> None:
    """Atoms that fire but once or twice in a sample: alone they look as if each were of one modality."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(0.3, 0.7, 4000)
    samples = [(generator.poisson(1.5 * truth), generator.poisson(1.5 * (1 - truth))) for _ in range(2)]
    scores = [modality_score(*map(np.asarray, sample)) for sample in samples]
    image, text = (side.astype(float) for side in samples[0])
    assert crossed_score_spread(image, text, scores[0]) == pytest.approx(score_spread(scores[0], image + text))
    assert score_spread(scores[0], image + text) > 0.35
    known = np.sqrt(np.square(truth - 0.5).mean())
    assert crossed_score_spread(image, text, scores[1]) == pytest.approx(known, abs=0.02)
    both = crossed_score_spread(np.stack([image, text], 1), np.stack([text, image], 1), scores[0])
    assert both == pytest.approx([crossed_score_spread(image, text, scores[0]), 0])
    assert np.isnan(crossed_score_spread(np.zeros(2), np.zeros(2), np.array([0.5, np.nan])))
