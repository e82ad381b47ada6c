import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from isoenergy.metrics.geometry import difference_in_means, optimal_transport_gap, probing_accuracy
from isoenergy.statistics.concept_statistics import ConceptStatistics


def test_difference_in_means() -> None:
    assert difference_in_means(np.array([1.0, 2.0]), np.array([4.0, 6.0])) == 5


def test_optimal_transport_of_equal_clouds_is_zero_and_of_opposite_ones_two() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4))
    assert optimal_transport_gap(rows, 3 * rows[::-1]) == pytest.approx(0, abs=1e-9)
    assert optimal_transport_gap(rows[:1], -rows[:1]) == pytest.approx(2)
    assert optimal_transport_gap(rows, np.repeat(rows, 2, axis=0)) == pytest.approx(0, abs=1e-9)


def test_optimal_transport_is_the_best_assignment() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 15, 3))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    cost = 1 - unit[0] @ unit[1].T
    rows, columns = linear_sum_assignment(cost)
    assert optimal_transport_gap(a, b) == pytest.approx(cost[rows, columns].mean())


def statistics_of(image_energy: list[float], text_energy: list[float]) -> ConceptStatistics:
    statistics = ConceptStatistics.zeros(len(image_energy))
    for part, energy in ((statistics.image, image_energy), (statistics.text, text_energy)):
        part.rows, part.second = 1, np.array(energy)
    return statistics


def test_p_acc_is_one_when_every_atom_is_where_it_should_be() -> None:
    dictionary = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    images, texts = np.array([[2.0, 5.0], [2.0, -5.0]]), np.array([[-2.0, 5.0], [-2.0, -5.0]])
    statistics = statistics_of([1, 0, 0.5], [0, 1, 0.5])
    assert probing_accuracy(images, texts, dictionary, statistics) == pytest.approx(1)


def test_p_acc_penalises_a_bimodal_atom_that_separates_the_modalities() -> None:
    dictionary = np.array([[1.0, 0.0], [-1.0, 0.0]])
    images, texts = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    assert probing_accuracy(images, texts, dictionary, statistics_of([1, 1], [1, 1])) == pytest.approx(0.5)


def test_p_acc_is_zero_when_unimodal_atoms_point_the_wrong_way() -> None:
    dictionary = np.array([[-1.0, 0.0], [1.0, 0.0]])
    images, texts = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    assert probing_accuracy(images, texts, dictionary, statistics_of([1, 0], [0, 1])) == pytest.approx(0)
