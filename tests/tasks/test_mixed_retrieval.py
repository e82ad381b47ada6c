from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score
from torch.nn.functional import normalize

from isoenergy.metrics.retrieval import equal_rows
from isoenergy.tasks import mixed_retrieval as module
from isoenergy.tasks.mixed_retrieval import MixedGallery, Modality, draw_kinds, mixed_retrieval

MODALITIES: tuple[Modality, ...] = ("image", "text")


def gallery_of(images: torch.Tensor, texts: torch.Tensor, labels: np.ndarray, **other: Any) -> MixedGallery:
    given = {
        "kinds": draw_kinds(len(images), 0),
        "partner": np.arange(len(images)),
        "image_label": labels,
        "text_label": labels,
        "image_same": equal_rows(images.numpy()),
        "text_same": equal_rows(texts.numpy()),
    }
    return MixedGallery(**{**given, **other})


def pairs(count: int, gap: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Pairs of `count / 4` concepts; the modalities lie apart along the first axis."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % (count // 4)
    concepts = generator.normal(size=(count // 4, 12))
    rows = [concepts[labels] + 0.3 * generator.normal(size=(count, 12)) for _ in range(2)]
    for side, part in zip((gap, -gap), rows, strict=True):
        part[:, 0] += side
    image, text = (torch.from_numpy(part).float() for part in rows)
    return image, text, labels


def test_the_kinds_are_a_third_each() -> None:
    assert np.bincount(draw_kinds(301, 3)).tolist() == [101, 100, 100]
    assert not np.array_equal(draw_kinds(300, 3), draw_kinds(300, 4))


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("block", [40, 16_000_000])
def test_it_is_the_ndcg_of_others_on_the_documents_that_are_left(
    modality: Modality, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    images, texts, labels = pairs(60, gap=0.5)
    gallery = gallery_of(images, texts, labels)
    queries = gallery.answerable(modality)
    found = mixed_retrieval(gallery, images, texts, gallery.asked(modality, queries))
    unit = {"image": normalize(images, dim=1), "text": normalize(texts, dim=1)}
    held = [(unit["image"],), (unit["text"],), tuple(unit.values())]
    documents = normalize(
        torch.stack([torch.stack([part[n] for part in held[kind]]).mean(0) for n, kind in enumerate(gallery.kinds)]),
        dim=1,
    )
    for place, query in enumerate(queries):
        others = np.arange(60) != query
        scores = (unit[modality][query] @ documents.T).numpy()[others]
        expected = ndcg_score([(labels == labels[query])[others]], [scores], k=10)
        assert found.ndcg[place] == pytest.approx(expected, abs=1e-6)
        first = np.argsort(-scores)[:10]
        own = gallery.kinds[others][first] == module.KINDS.index(modality)
        assert found.own_modality[place] == pytest.approx(own.mean())


@pytest.mark.parametrize("seed", range(4))
def test_what_ties_with_the_tenth_or_with_what_ties_with_it_counts(seed: int) -> None:
    generator = np.random.default_rng(seed)
    level = np.where(generator.uniform(size=90) < 0.3, generator.integers(0, 6, 90), -750_000)
    cosine = 0.5 + 4e-7 * level  # two levels are a tie, three are not
    documents = torch.from_numpy(np.stack([cosine, np.sqrt(1 - cosine**2)], axis=1)).float()
    asking = torch.tensor([[1.0, 0.0]]).repeat(6, 1)
    labels, kinds = np.arange(90) % 6, np.arange(90) // 6 % 2
    gallery = gallery_of(
        documents, documents, labels, kinds=kinds, text_label=np.arange(96) % 6, text_same=np.arange(96)
    )
    found = mixed_retrieval(
        gallery, documents, torch.cat([documents, asking]), gallery.asked("text", np.arange(90, 96))
    )
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 12)))])
    for label in range(6):
        gained = 0.0
        for own in level[labels == label]:
            nearer, tied = (level > own + 2).sum(), (abs(level - own) <= 2).sum()
            gained += (gains[min(nearer + tied, 10)] - gains[min(nearer, 10)]) / tied
        assert found.ndcg[label] == pytest.approx(gained / gains[10], abs=1e-9)
    tenth = np.sort(level)[-10]
    nearer, tied = level > tenth + 2, abs(level - tenth) <= 2
    texts = (nearer & (kinds == 1)).sum() + (10 - nearer.sum()) * (tied & (kinds == 1)).sum() / tied.sum()
    np.testing.assert_allclose(found.own_modality, texts / 10, atol=1e-9)


def test_rows_that_are_all_alike_find_what_chance_finds() -> None:
    labels = np.arange(30) % 3
    images = texts = torch.ones(30, 4)
    gallery = gallery_of(images, texts, labels, image_same=np.arange(30), text_same=np.arange(30))
    found = mixed_retrieval(gallery, images, texts, gallery.asked("text", np.arange(30)))
    generator = np.random.default_rng(0)
    drawn = generator.permuted(np.tile(np.arange(29), (5000, 1)), axis=1)
    by_chance = ndcg_score(np.tile(np.arange(29) < 9, (5000, 1)), drawn, k=10, ignore_ties=True)
    np.testing.assert_allclose(found.ndcg, by_chance, atol=0.01)
    assert found.own_modality.mean() == pytest.approx(1 / 3, abs=0.001)


def test_queries_of_zeros_find_nothing_and_documents_of_zeros_are_not_found() -> None:
    images, texts, labels = pairs(32)
    texts[labels == 0] = 0
    kinds = np.where(np.arange(32) < 16, 0, 1)  # the first 16 documents are images, the rest texts
    gallery = gallery_of(images, texts, labels, kinds=kinds, text_same=np.arange(32))
    found = mixed_retrieval(gallery, images, texts, gallery.asked("text", np.arange(32)))
    assert (found.ndcg[labels == 0] == 0).all()
    assert np.isnan(found.own_modality[labels == 0]).all()
    assert np.isfinite(found.own_modality[labels > 0]).all()
    kinds, labels = np.array([0, 1, 1, 1, 1, 1, 1, 1]), np.arange(8) // 2
    few = gallery_of(images[:8], texts[:8], labels, kinds=kinds, text_same=np.arange(8))
    texts[2:] = 0
    alone = mixed_retrieval(few, images[:8], texts[:8], few.asked("text", np.array([1])))
    assert alone.own_modality.tolist() == [0]  # of two documents that are left, its own is not in its gallery
    asked = mixed_retrieval(few, images[:8], texts[:8], few.asked("image", np.array([2])))
    assert asked.ndcg.tolist() == [0]  # what is right is zero
    assert asked.own_modality.tolist() == [0.5]


def test_a_document_that_holds_a_copy_of_the_query_is_left_out_and_so_is_its_own() -> None:
    images, texts, _ = pairs(8)
    texts[3] = texts[2]
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    gallery = gallery_of(images, texts, labels, kinds=np.array([0, 1, 0, 1, 0, 1, 2, 2]))
    right = gallery.right("text", np.arange(8))
    assert np.flatnonzero(right[0]).tolist() == [1]  # its own, an image alone, is left out
    assert not right[2].any()  # the other text is the same
    assert np.flatnonzero(right[3]).tolist() == [2]  # the other document holds an image alone
    assert np.flatnonzero(right[4]).tolist() == [5, 6]
    assert gallery.answerable("text").tolist() == [0, 1, 3, 4, 5, 6]


def test_a_gap_fills_the_first_ten_with_the_query_s_own_modality_and_centring_empties_them() -> None:
    images, texts, labels = pairs(120, gap=8.0)
    gallery = gallery_of(images, texts, labels)
    queries = gallery.answerable("text")
    before = mixed_retrieval(gallery, images, texts, gallery.asked("text", queries))
    after = mixed_retrieval(gallery, images - images.mean(0), texts - texts.mean(0), gallery.asked("text", queries))
    assert before.own_modality.mean() > 0.95
    assert after.own_modality.mean() < 0.5
    assert after.ndcg.mean() > before.ndcg.mean() + 0.2


def test_a_text_that_stands_with_no_document_looks_its_image_s_up() -> None:
    """As COCO's further captions do."""
    images = torch.eye(6)
    texts = torch.cat([torch.eye(6), torch.eye(6) + 0.01])
    gallery = gallery_of(images, texts, np.arange(6), text_label=np.arange(12) % 6)
    assert gallery.answerable("text").tolist() == list(range(6, 12))
    assert gallery.answerable("image").tolist() == []
    found = mixed_retrieval(gallery, images, texts, gallery.asked("text", np.arange(6, 12)))
    np.testing.assert_allclose(found.ndcg, 1)
    assert len(mixed_retrieval(gallery, images, texts, gallery.asked("image", np.arange(0))).ndcg) == 0
