import numpy as np
import pytest
from scipy import sparse

from isoenergy.metrics.bridges import (
    BridgeThresholds,
    bridge_energy,
    bridge_modality_score,
    fda,
    gamma_bridge,
    region_masses,
    rho,
    score_agreement,
    shuffled_bridge,
    sigma_bridge,
)
from tests.metrics.cases import modal_codes, plan_by_linear_program, random_codes, random_dictionary, statistics_of

ATOMS, DIM, ROWS = 30, 6, 80


def cut(matrix: np.ndarray, quantile: float, magnitudes: bool = False) -> np.ndarray:
    """The paper's threshold: a quantile of the signed entries (torch.kthvalue) that cuts magnitudes."""
    ordered = np.sort(np.abs(matrix) if magnitudes else matrix, axis=None)
    threshold = ordered[max(int(quantile * matrix.size), 1) - 1]
    return np.where(np.abs(matrix) < threshold, 0, matrix)


def plain_sigma(image, text, dictionary, thresholds: BridgeThresholds, normalised: bool = False) -> np.ndarray:
    cross = image.T @ text / len(image)
    if normalised:
        scale = np.sqrt(np.outer((image**2).mean(0), (text**2).mean(0)))
        cross = np.where(scale > 0, cross / np.where(scale > 0, scale, 1), 0)
    gram_matrix = cut(dictionary @ dictionary.T, thresholds.gram, thresholds.magnitudes)
    return cut(cross, thresholds.cross, thresholds.magnitudes) * gram_matrix


@pytest.mark.parametrize("magnitudes", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("quantiles", [(0.9, 0.999), (0.5, 0.95), (0, 0), (0.3, 0.02)])
def test_sigma_bridge_is_the_formula(
    magnitudes: bool, normalised: bool, negative: bool, quantiles: tuple[float, float]
) -> None:
    image, text = (random_codes(seed, ROWS, ATOMS, k=4, negative=negative) for seed in (0, 1))
    text += image  # what fires in an image fires in its text
    image[:, 3] = text[:, 3] = text[:, 4] = 0
    dictionary, thresholds = random_dictionary(2, ATOMS, DIM), BridgeThresholds(*quantiles, magnitudes)
    found = sigma_bridge(statistics_of(image, text), dictionary, thresholds, normalised)
    expected = plain_sigma(image, text, dictionary, thresholds, normalised)
    assert expected.any()
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-9)


def test_the_default_thresholds_are_the_paper_s() -> None:
    image, text = (random_codes(seed, ROWS, ATOMS) for seed in (0, 1))
    dictionary = random_dictionary(2, ATOMS, DIM)
    found = sigma_bridge(statistics_of(image, text), dictionary)
    np.testing.assert_allclose(
        found.toarray(), plain_sigma(image, text, dictionary, BridgeThresholds(0.9, 0.999, False))
    )


def test_the_zeros_of_the_cross_moments_count_in_their_quantile() -> None:
    image = np.zeros((1, 10))
    image[0, :3] = [1, 2, 3]
    statistics = statistics_of(image, image)  # 9 of 100 entries are positive, the rank 90 of 100 is a zero
    assert sigma_bridge(statistics, np.ones((10, 1)), BridgeThresholds(0, 0.9)).nnz == 9
    assert sigma_bridge(statistics, np.ones((10, 1)), BridgeThresholds(0, 0.99)).nnz == 3  # 6, 6 and 9
    assert sigma_bridge(statistics, np.ones((10, 1)), BridgeThresholds(0, 1)).nnz == 1


def test_a_quantile_below_zero_cuts_nothing() -> None:
    statistics = statistics_of(np.ones((1, 2)), np.ones((1, 2)))
    statistics.cross = sparse.csr_array(np.array([[-0.1, 0.5], [0.5, 0]]))
    assert sigma_bridge(statistics, np.ones((2, 1)), BridgeThresholds(0, 0)).nnz == 3


def test_entries_equal_to_the_threshold_stay() -> None:
    statistics = statistics_of(np.ones((3, 4)), np.ones((3, 4)))
    np.testing.assert_array_equal(sigma_bridge(statistics, np.ones((4, 1))).toarray(), np.ones((4, 4)))


def test_the_normalised_bridge_is_divided() -> None:
    # the paper's code divides a copy and loses it: it would give 4 here (paper 5.3, 14)
    statistics = statistics_of(np.array([[2.0]]), np.array([[2.0]]))
    assert sigma_bridge(statistics, np.ones((1, 1))).toarray() == 4
    assert sigma_bridge(statistics, np.ones((1, 1)), normalised=True).toarray() == 1


def test_cross_moments_with_repeated_entries_add_up_and_stay_as_they_were() -> None:
    statistics = statistics_of(np.ones((1, 2)), np.ones((1, 2)))
    statistics.cross = sparse.csr_array((np.array([0.25, 0.75]), np.array([1, 1]), np.array([0, 2, 2])), (2, 2))
    assert sigma_bridge(statistics, np.ones((2, 1))).toarray().tolist() == [[0, 1], [0, 0]]
    assert statistics.cross.nnz == 2


def test_a_bridge_without_cuts_leaves_the_cross_moments_as_they_were() -> None:
    statistics = statistics_of(*(random_codes(seed, ROWS, ATOMS) for seed in (0, 1)))
    before = statistics.cross.copy()
    dictionary = random_dictionary(2, ATOMS, DIM)
    dictionary[1] = 0  # what it is part of is no entry of the bridge
    bridge = sigma_bridge(statistics, dictionary, BridgeThresholds(0, 0))
    assert 0 < bridge.nnz < before.nnz
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(statistics.cross, part), getattr(before, part))


def test_gamma_bridge_is_the_formula() -> None:
    image, text = modal_codes(0, ROWS, ATOMS)
    dictionary = random_dictionary(5, ATOMS, DIM)
    plan, _ = plan_by_linear_program(dictionary, dictionary, (image**2).mean(0), (text**2).mean(0))
    expected = plan * cut(dictionary @ dictionary.T, 0.9)
    assert expected.any()
    np.testing.assert_allclose(gamma_bridge(statistics_of(image, text), dictionary).toarray(), expected, atol=1e-9)


def plain_masses(bridge: np.ndarray, image, text) -> dict[str, float]:
    image_energy, text_energy = (image**2).mean(0), (text**2).mean(0)
    regions = {"I": [], "T": [], "B": []}
    for atom, (i, t) in enumerate(zip(image_energy, text_energy, strict=True)):
        if i + t > 0:
            mu = i / (i + t)
            regions["I" if mu > 0.95 else "T" if mu < 0.05 else "B"].append(atom)
    return {a + b: sum(abs(bridge[i, j]) for i in regions[a] for j in regions[b]) for a in "ITB" for b in "ITB"}


@pytest.mark.parametrize("seed", range(3))
def test_masses_rho_and_fda_are_the_formulas(seed: int) -> None:
    image, text = modal_codes(seed, ROWS, ATOMS)
    statistics, dictionary = statistics_of(image, text), random_dictionary(seed, ATOMS, DIM)
    classes = statistics.classes()
    share = statistics.energy_share(classes.bimodal)
    for bridge in (
        sigma_bridge(statistics, dictionary, BridgeThresholds(0.5, 0.5)),
        gamma_bridge(statistics, dictionary),
    ):
        masses = region_masses(bridge, classes)
        plain = plain_masses(bridge.toarray(), image, text)
        names = [a + b for a in "ITB" for b in "ITB"]
        np.testing.assert_allclose(masses.masses.ravel(), [plain[name] for name in names], atol=1e-12)
        good = sum(plain[name] for name in ("BB", "BI", "BT", "IB", "TB"))
        bad = sum(plain[name] for name in ("II", "TT", "IT", "TI"))
        assert rho(masses) == pytest.approx(good / bad, abs=1e-9)
        assert fda(masses, share) == pytest.approx(good / bad * (1 - share) / share, abs=1e-9)


def test_bridge_energy_and_score_are_the_formulas() -> None:
    bridge = sparse.csr_array(np.array([[0, -2.0, 0], [1, 0, 0], [0, 0, 0]]))
    assert bridge_energy(bridge).tolist() == [1.5, 1.5, 0]
    np.testing.assert_allclose(bridge_modality_score(bridge), [2 / 3, 1 / 3, np.nan])


def test_agreement_of_the_scores() -> None:
    # atoms: image-only with an image bridge, bimodal with a text bridge, text-only with none, dead
    image, text = np.diag([2.0, 1, 0, 0])[:3], np.diag([0.0, 1, 1, 0])[:3]
    bridge = sparse.csr_array(([5.0], ([0], [1])), (4, 4))
    agreement = score_agreement(bridge, statistics_of(image, text))
    assert agreement.atoms == 0.5
    assert agreement.energy == pytest.approx(4 / 6)
    assert agreement.compared == pytest.approx(6 / 7)
    assert score_agreement(bridge.T.tocsr(), statistics_of(image, text)).atoms == 0


def test_atoms_that_are_equal_are_not_cut_by_rounding() -> None:
    # 512 additions in another order move the last digits of the entries that are all at the threshold
    for seed in range(5):
        dictionary = np.repeat(random_dictionary(seed, 1, 509), 200, axis=0)
        assert sigma_bridge(statistics_of(np.eye(200), np.eye(200)), dictionary).nnz == 200


@pytest.mark.filterwarnings("error")
def test_no_bimodal_atoms_no_energy_and_one_atom() -> None:
    unimodal = statistics_of(np.array([[1.0, 0]]), np.array([[0, 1.0]]))
    masses = region_masses(sigma_bridge(unimodal, np.ones((2, 1))), unimodal.classes())
    assert rho(masses) == 0
    assert np.isnan(fda(masses, 0.0))
    shared = statistics_of(np.ones((1, 1)), np.ones((1, 1)))
    masses = region_masses(sigma_bridge(shared, np.ones((1, 1))), shared.classes())
    assert rho(masses) == np.inf
    assert np.isnan(fda(masses, 1.0))
    dead = statistics_of(np.zeros((2, 2)), np.zeros((2, 2)))
    for bridge in (sigma_bridge(dead, np.eye(2)), sigma_bridge(dead, np.eye(2), normalised=True)):
        assert bridge.nnz == 0
        assert np.isnan(rho(region_masses(bridge, dead.classes())))
        assert np.isnan(score_agreement(bridge, dead).atoms)
    assert gamma_bridge(dead, np.eye(2)).nnz == 0


@pytest.mark.parametrize("quantiles", [(0.5, 0.98), (0.5, 0.95), (0, 0.3), (0.3, 0)])
def test_the_bridge_of_shuffled_pairs_is_that_of_independent_codes(quantiles: tuple[float, float]) -> None:
    image, text = (random_codes(seed, ROWS, ATOMS, k=4) for seed in (0, 1))
    image[:, 3] = text[:, 3] = text[:, 4] = 0
    dictionary, thresholds = random_dictionary(2, ATOMS, DIM), BridgeThresholds(*quantiles)
    expected = np.outer(image.mean(0), text.mean(0))
    ordered = np.sort(expected, axis=None)
    expected[expected < ordered[max(int(quantiles[1] * expected.size), 1) - 1]] = 0
    expected *= cut(dictionary @ dictionary.T, quantiles[0])
    assert expected.any()
    found = shuffled_bridge(statistics_of(image, text), dictionary, thresholds)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-12)


def test_shuffled_pairs_of_dead_codes_have_no_bridge() -> None:
    nothing = np.zeros((5, ATOMS))
    assert shuffled_bridge(statistics_of(nothing, nothing), random_dictionary(2, ATOMS, DIM)).nnz == 0
