import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy.statistics.bootstrap import poisson_weights
from isoenergy.tasks import composed_retrieval as module
from isoenergy.tasks.composed_retrieval import Triplets, composed_retrieval, image_distances, told_apart


def triplets(source: list[int], target: list[int], images: int, **other: np.ndarray) -> Triplets:
    none = np.zeros((len(source), 0), np.int64)
    given = {"added": none, "removed": none, "gallery": np.zeros(images, np.int64)}
    return Triplets(np.array(source), np.array(target), **{**given, **other})


def test_a_change_is_the_mean_of_what_is_added_less_that_of_what_is_removed() -> None:
    texts = torch.tensor([[1.0, 0], [0, 2.0], [4.0, 4.0]])
    asked = triplets([0, 0], [1, 1], 2, added=np.array([[0, 1], [2, -1]]), removed=np.array([[2, -1], [-1, -1]]))
    torch.testing.assert_close(asked.deltas(texts), torch.tensor([[-3.5, -3.0], [4.0, 4.0]]))


@pytest.mark.parametrize("block", [7, 16_000_000])
def test_arithmetic_finds_the_image_with_one_attribute_changed(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    identity, attribute = torch.eye(12)[:8], torch.eye(12)[8:]
    images = torch.cat([identity + value for value in attribute])  # image 8 a + i
    source = np.repeat(np.arange(8), 3)
    values = np.tile([1, 2, 3], 8)
    asked = triplets(
        source.tolist(), (8 * values + source).tolist(), 32, added=values[:, None], removed=np.zeros((24, 1), int)
    )
    start = images[torch.from_numpy(asked.source)]
    found = composed_retrieval(start + asked.deltas(attribute), images, asked)
    assert found.hits(1).mean() == 1
    alone = composed_retrieval(start, images, asked)  # 3 of its identity and 7 of its attribute are as near
    np.testing.assert_allclose(alone.hits(1), 1 / 10)
    assert composed_retrieval(asked.deltas(attribute), images, asked).hits(1).mean() < 0.2


def test_the_source_is_not_in_its_own_gallery_and_galleries_are_apart() -> None:
    images = torch.tensor([[1.0, 0], [0.9, 0.1], [1.0, 0.01], [0.0, 1.0]])
    asked = triplets([0, 0], [1, 1], 4, gallery=np.array([0, 0, 1, 1]))
    assert composed_retrieval(images[[0, 0]], images, asked).hits(1).tolist() == [1, 1]
    together = triplets([0, 0], [1, 1], 4)
    assert composed_retrieval(images[[0, 0]], images, together).hits(1).tolist() == [0, 0]
    assert composed_retrieval(images[[0, 0]], images, together).hits(2).tolist() == [1, 1]


def test_distances_are_those_to_the_k_th_nearest_other_image() -> None:
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 5))).float()
    gallery = np.arange(40) % 2
    chosen = np.array([3, 5, 8, 8])
    unit = normalize(images, dim=1)
    cosine = (unit @ unit.T).numpy()
    expected = [np.sort(1 - np.delete(cosine[i], i)[np.delete(gallery, i) == gallery[i]])[2] for i in chosen]
    np.testing.assert_allclose(image_distances(images, chosen, gallery, k=3), expected, atol=1e-6)
    asked = triplets([3, 5], [5, 3], 40, gallery=gallery)
    as_query = composed_retrieval(images[[3, 5]], images, asked, k=3).distance
    np.testing.assert_allclose(as_query, expected[:2], atol=1e-6)
    assert np.isnan(image_distances(images[:3], np.array([0]), np.zeros(3, int), k=3)).all()


def test_the_best_threshold_is_that_of_a_search_over_all() -> None:
    generator = np.random.default_rng(0)
    real, queries = np.round(generator.normal(0, 1, 60), 1), np.round(generator.normal(0.8, 1, 60), 1)
    weights = poisson_weights(60, 20, 0)
    found = told_apart(real, queries, weights)
    for column in (0, 7):
        w = weights[:, column] / weights[:, column].sum()
        searched = max(abs(w @ (real <= t) - w @ (queries <= t)) for t in np.concatenate([real, queries]))
        assert found[column] == pytest.approx(searched)
    assert told_apart(real, real, weights) == pytest.approx(0)
    assert told_apart(real, real - 100, weights) == pytest.approx(1)
    assert np.isnan(told_apart(np.full(3, np.nan), np.full(3, np.nan), np.ones((3, 2)))).all()
