import numpy as np
import pytest
import torch

from isoenergy.statistics.bootstrap import poisson_weights
from isoenergy.tasks.zero_shot import by_class, class_hits, zero_shot


def test_the_class_whose_prompts_are_nearest_wins() -> None:
    classes = torch.eye(8)
    labels = np.arange(40) % 8
    images = 3 * classes[labels]
    images[:10] = classes[(labels[:10] + 1) % 8] + 0.5 * classes[labels[:10]]  # second nearest
    found = zero_shot(images, classes, labels, poisson_weights(40, 200, 0))
    assert found["top1"].value == pytest.approx(0.75)
    assert found["top5"].value == 1
    assert found["top1"].low < 0.75 < found["top1"].high


def test_an_image_of_zeros_and_one_whose_class_is_zero_are_misses() -> None:
    images, classes = torch.eye(4)[[0, 1, 2]], torch.eye(4)
    images[0], classes[1] = 0, 0
    hits = class_hits(images, classes, np.array([0, 1, 2]), (1, 4))
    assert hits[1].tolist() == hits[4].tolist() == [0, 0, 1]


def test_five_of_five_classes_are_no_measure() -> None:
    found = zero_shot(torch.eye(5), torch.eye(5), np.arange(5), np.ones((5, 3)))
    assert set(found) == {"top1", "balanced"}


def test_balanced_counts_every_class_alike_and_leaves_out_one_without_weight() -> None:
    hits, labels = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])
    weights = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(by_class(hits, labels, weights), [0.5, 1.0])
    np.testing.assert_allclose(by_class(hits, 7 - 3 * labels, weights), [0.5, 1.0])


def test_balanced_is_the_mean_of_the_classes_weighted_means() -> None:
    generator = np.random.default_rng(0)
    values, labels, weights = generator.uniform(size=50), generator.integers(0, 6, 50), poisson_weights(50, 20, 0)
    means = [values[labels == label] @ weights[labels == label] / weights[labels == label].sum(0) for label in range(6)]
    np.testing.assert_allclose(by_class(values, labels, weights), np.mean(means, axis=0), rtol=1e-12)
