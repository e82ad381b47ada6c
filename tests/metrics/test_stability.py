import itertools

import numpy as np
import pytest

from isoenergy.metrics.stability import energy_transport, match_atoms, permuted_transport, random_matching
from tests.metrics.cases import plan_by_linear_program, random_dictionary, unit


@pytest.mark.parametrize(("m", "n"), [(6, 6), (4, 7), (7, 4), (1, 3)])
def test_matching_is_the_best_of_all_assignments(m: int, n: int) -> None:
    first, second = 2 * random_dictionary(m, m, 3), random_dictionary(n + 50, n, 3)
    cosine = unit(first) @ unit(second).T
    small = cosine if m <= n else cosine.T
    rows = range(len(small))
    best = max(itertools.permutations(range(small.shape[1]), len(small)), key=lambda p: small[rows, list(p)].sum())
    matching = match_atoms(first, second)
    assert matching.mean == pytest.approx(small[rows, list(best)].mean(), abs=1e-9)
    np.testing.assert_allclose(matching.cosine, cosine[matching.first, matching.second], atol=1e-12)
    assert len(set(matching.first)) == len(set(matching.second)) == min(m, n)


def test_a_shuffled_dictionary_of_other_norms_is_found_again() -> None:
    dictionary = random_dictionary(0, 40, 8)
    order = np.random.default_rng(1).permutation(40)
    matching = match_atoms(dictionary, 5 * dictionary[order])
    np.testing.assert_array_equal(order[matching.second], matching.first)
    assert matching.mean == pytest.approx(1)


def test_weighted_mean_weighs_the_first_dictionary_s_atoms() -> None:
    first, second = np.eye(3)[:2], np.array([[0, 0.6, 0.8], [1.0, 0, 0]])
    matching = match_atoms(first, second)
    assert matching.mean == pytest.approx((1 + 0.6) / 2)
    assert matching.weighted_mean(np.array([3.0, 1])) == pytest.approx((3 + 0.6) / 4)
    assert np.isnan(matching.weighted_mean(np.zeros(2)))
    assert np.isnan(match_atoms(first, np.zeros((0, 3))).mean)


def test_random_matching_is_below_a_dictionary_s_own_and_seeded() -> None:
    dictionary = random_dictionary(0, 30, 6)
    null = random_matching(dictionary, 30, draws=5, seed=3)
    np.testing.assert_array_equal(null, random_matching(dictionary, 30, draws=5, seed=3))
    assert len(set(null)) == 5
    assert 0 < null.max() < match_atoms(dictionary, dictionary + 0.05).mean
    generator = np.random.default_rng(3)
    expected = match_atoms(dictionary, generator.standard_normal((30, 6))).mean
    assert null[0] == expected


@pytest.fixture
def weighted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    energies = generator.gamma(0.4, size=10), generator.gamma(0.4, size=8)
    energies[0][2] = 0
    return random_dictionary(0, 10, 4), 3 * random_dictionary(1, 8, 4), *energies


def test_energy_transport_is_the_linear_program_s_cost(weighted) -> None:
    assert energy_transport(*weighted) == pytest.approx(plan_by_linear_program(*weighted)[1], abs=1e-9)


def test_permuted_transport_permutes_both_energies(weighted) -> None:
    first, second, first_energy, second_energy = weighted
    null = permuted_transport(*weighted, draws=3, seed=7)
    generator = np.random.default_rng(7)
    for cost in null:
        masses = generator.permutation(first_energy), generator.permutation(second_energy)
        assert cost == pytest.approx(plan_by_linear_program(first, second, *masses)[1], abs=1e-9)
    assert len(set(null)) == 3


def test_a_dictionary_beats_its_nulls_against_a_noisy_copy_of_itself() -> None:
    dictionary = random_dictionary(4, 25, 10)
    energy = np.random.default_rng(5).gamma(0.3, size=25)
    copy = dictionary + 0.02 * random_dictionary(6, 25, 10)
    assert energy_transport(dictionary, copy, energy, energy) < 0.01
    assert permuted_transport(dictionary, copy, energy, energy, draws=5, seed=0).min() > 0.1


def test_no_energy_has_no_cost() -> None:
    assert np.isnan(energy_transport(np.eye(2), np.eye(2), np.zeros(2), np.ones(2)))
