"""Under weights that are whole numbers a measure is that of rows repeated so many times."""

import numpy as np
import pytest

from isoenergy.metrics.gap import relative_modality_gap
from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.statistics.bootstrap import poisson_weights
from tests.metrics.cases import modal_codes, random_dictionary, statistics_of

ROWS, DIM, ATOMS = 40, 5, 12


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(ROWS, DIM))
    image, text = (shared + generator.normal(size=shared.shape) + side for side in (1, -1))
    return image, text


def test_the_first_value_is_the_measure_itself(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    weights = poisson_weights(ROWS, 5, 0)
    found = relative_modality_gap(*pairs, weights=weights)
    assert found.shape == (6,)
    assert found[0] == pytest.approx(relative_modality_gap(*pairs))
    statistics = statistics_of(*modal_codes(3, 50, ATOMS))
    dictionary = random_dictionary(1, ATOMS, DIM)
    energies = np.repeat(statistics.energy[:, None], 6, axis=1)
    found = probing_accuracy(*pairs, dictionary, statistics, weights, energies)
    assert found[0] == pytest.approx(probing_accuracy(*pairs, dictionary, statistics))


def test_replicates_are_those_of_repeated_pairs(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    weights = poisson_weights(ROWS, 4, 1)
    statistics = statistics_of(*modal_codes(3, 50, ATOMS))
    dictionary = random_dictionary(1, ATOMS, DIM)
    energies = np.repeat(statistics.energy[:, None], 5, axis=1)
    found = probing_accuracy(*pairs, dictionary, statistics, weights, energies)
    relative = relative_modality_gap(*pairs, weights=weights)
    for column in range(1, 5):
        times = weights[:, column].astype(int)
        repeated = [np.repeat(rows, times, axis=0) for rows in pairs]
        assert found[column] == pytest.approx(probing_accuracy(*repeated, dictionary, statistics))
        owner = np.repeat(np.arange(ROWS), times)
        units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in repeated]
        apart = owner[:, None] != owner[None, :]
        within = [(1 - (rows @ rows.T)[apart].mean()) / 2 for rows in units]
        matching = (1 - (units[0] * units[1]).sum(1).mean()) / 2
        assert relative[column] == pytest.approx(matching / (matching + np.mean(within)))


def test_one_pair_has_no_relative_gap_and_no_energy_no_accuracy() -> None:
    row = np.ones((1, DIM))
    assert np.isnan(relative_modality_gap(row, -row, weights=np.ones((1, 3)))).all()
    statistics = statistics_of(np.zeros((4, ATOMS)), np.zeros((4, ATOMS)))
    dictionary = random_dictionary(1, ATOMS, DIM)
    found = probing_accuracy(row, -row, dictionary, statistics, np.ones((1, 3)), np.zeros((ATOMS, 3)))
    assert np.isnan(found).all()
