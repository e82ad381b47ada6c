from math import comb

import numpy as np
import pytest
import torch
from scipy import sparse

from isoenergy.metrics import retrieval
from isoenergy.metrics.protocol import PAPER_BATCH
from isoenergy.metrics.retrieval import (
    directions,
    equal_rows,
    full_gallery_recall,
    not_zero,
    recall_at,
    recall_change,
    recall_in_batches,
    recall_of_any_partner,
)

RANKS = (1, 2, 5, 10)


def noisy_pairs(seed: int, n: int, dim: int = 6, noise: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return images, images + noise * torch.randn(n, dim, generator=generator, dtype=torch.float64)


def by_sorting(queries: torch.Tensor, gallery: torch.Tensor, rank: int) -> float:
    cosine = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    nearest = cosine.argsort(dim=1, descending=True)[:, :rank]
    return float((nearest == torch.arange(len(queries))[:, None]).any(1).double().mean())


@pytest.fixture(params=[1, 100, 10**9])
def block_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_ENTRIES", request.param)


@pytest.mark.usefixtures("block_entries")
def test_agrees_with_sorting_in_any_block_size() -> None:
    queries, gallery = noisy_pairs(0, 37)
    for dtype in (torch.float32, torch.float64):
        found = recall_at(queries.to(dtype), gallery.to(dtype), (1, 3, 37))
        expected = {1: by_sorting(queries, gallery, 1), 3: by_sorting(queries, gallery, 3), 37: 1.0}
        assert found == pytest.approx(expected)


def test_ties_count_as_chance() -> None:
    twice = torch.eye(3)[[0, 0, 1, 2]]
    assert recall_at(twice, twice, (1, 2)) == pytest.approx({1: 0.75, 2: 1.0})


def test_a_row_of_zeros_finds_nothing_and_is_found_by_nothing() -> None:
    rows = torch.eye(6)
    gone = rows.clone()
    gone[0], gone[1] = 0, 1e-8  # what rounding leaves
    for found in (recall_at(rows, gone, (1, 6)), recall_at(gone, rows, (1, 6))):
        assert found == pytest.approx({1: 4 / 6, 6: 4 / 6})  # not even where all are among the nearest
    assert recall_in_batches(rows, gone, (1, 6), batch=6) == pytest.approx({1: 4 / 6, 6: 4 / 6})
    partners = sparse.csr_array(np.eye(6) + np.eye(6, k=1))
    hits = retrieval.hits_of_any_partner(rows, gone, partners, (1, 6), retrieval.TIE)
    assert hits[6].tolist() == [0, 1, 1, 1, 1, 1]  # the second's other partner is still there
    assert recall_of_any_partner(gone, rows, partners, (6,))[6] == pytest.approx(4 / 6)


def test_a_row_of_zeros_stands_behind_what_is_opposite() -> None:
    """Its cosine, 0, would otherwise be above that of a partner on the other side."""
    queries, gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.1], [0.0, 0.0]])
    assert recall_at(queries, gallery, (1,))[1] == pytest.approx(0.5)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="pair up"):
        recall_at(torch.zeros(2, 3), torch.zeros(3, 3), (1,))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_rows_that_are_not_finite_are_an_error_and_no_hits(bad: float) -> None:
    rows = torch.eye(3)
    broken = rows.clone()
    broken[1, 1] = bad
    partners = sparse.eye_array(3).tocsr()
    with pytest.raises(ValueError, match="finite"):
        recall_at(rows, broken, (1,))
    with pytest.raises(ValueError, match="finite"):
        recall_in_batches(broken, rows, (1,), batch=3)
    with pytest.raises(ValueError, match="finite"):
        recall_of_any_partner(broken, rows, partners, (1,))


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize(("n", "batch"), [(60, 20), (79, 20), (20, 20), (7, 1)])
def test_recall_in_batches_is_a_loop_over_batches(n: int, batch: int) -> None:
    images, texts = noisy_pairs(n, n)
    order = np.random.default_rng(5).permutation(n)
    expected = dict.fromkeys(RANKS, 0.0)
    for start in range(0, n - batch + 1, batch):
        rows = order[start : start + batch]
        for rank in RANKS:
            both = by_sorting(images[rows], texts[rows], rank) + by_sorting(texts[rows], images[rows], rank)
            expected[rank] += both / 2 / (n // batch)
    assert recall_in_batches(images, texts, RANKS, batch, seed=5) == pytest.approx(expected, abs=1e-9)


def test_batches_are_seeded_and_of_256_unless_said() -> None:
    images, texts = noisy_pairs(0, 2 * PAPER_BATCH + 10)
    default = recall_in_batches(images, texts, RANKS)
    assert default == recall_in_batches(images, texts, RANKS, batch=256, seed=0)
    assert default != recall_in_batches(images, texts, RANKS, seed=1)
    assert default[1] > recall_at(images, texts, (1,))[1]
    assert np.isnan(recall_in_batches(images[:255], texts[:255], (1,))[1])


def plain_any_partner(queries, gallery, partners: np.ndarray, rank: int) -> float:
    """The chance of a partner among the `rank` nearest, counted query by query with exact ties."""
    total = 0.0
    for query, right in zip(queries, partners, strict=True):
        if not right.any():
            continue
        similarity = (gallery @ query).numpy()
        best = similarity[right].max()
        places = rank - int((similarity > best).sum())
        tied, right_tied = int((similarity == best).sum()), int((similarity[right] == best).sum())
        if places > 0:
            places = min(places, tied)
            total += 1 - comb(tied - right_tied, places) / comb(tied, places)
    return total / len(queries)


@pytest.mark.usefixtures("block_entries")
@pytest.mark.parametrize("ties", [False, True])
def test_any_partner_agrees_with_counting(ties: bool) -> None:
    generator = np.random.default_rng(0)
    queries, gallery = (torch.nn.functional.normalize(noisy_pairs(seed, n)[0]) for seed, n in ((1, 31), (2, 23)))
    if ties:  # few different rows, of exact inner products
        queries, gallery = (torch.eye(4).double()[generator.integers(4, size=n)] for n in (31, 23))
        queries[3] = 0
    partners = generator.random((31, 23)) < 0.15
    partners[[3, 5]] = False  # of a query of zeros, and of one without partners, none is found
    found = recall_of_any_partner(queries, gallery, sparse.csr_array(partners), RANKS)
    expected = {rank: plain_any_partner(queries, gallery, partners, rank) for rank in RANKS}
    assert found == pytest.approx(expected, abs=1e-9)
    assert recall_of_any_partner(queries, gallery, sparse.csr_array(partners), (99,))[99] == pytest.approx(
        partners.any(1).mean()
    )


def test_partners_must_be_queries_by_gallery() -> None:
    with pytest.raises(ValueError, match="queries × gallery"):
        recall_of_any_partner(torch.eye(3), torch.eye(3)[:2], sparse.csr_array((2, 3)), (1,))


def test_without_labels_the_full_gallery_is_recall_at() -> None:
    images, texts = noisy_pairs(3, 40)
    found = full_gallery_recall(images, texts, RANKS)
    assert (found.images, found.texts) == (40, 40)
    assert found.image_to_text == pytest.approx(recall_at(images, texts, RANKS))
    assert found.text_to_image == pytest.approx(recall_at(texts, images, RANKS))
    assert found.mean[5] == pytest.approx((found.image_to_text[5] + found.text_to_image[5]) / 2)


def test_five_captions_an_image_are_five_hits_and_no_errors() -> None:
    pictures, _ = noisy_pairs(4, 8)
    labels = np.repeat(np.arange(8), 5)
    images = pictures[labels]
    texts = images + 1e-3 * noisy_pairs(5, 40)[0]
    found = full_gallery_recall(images, texts, (1,), image_labels=labels)
    assert (found.images, found.texts) == (8, 40)
    assert found.image_to_text == {1: 1.0}
    assert found.text_to_image == {1: 1.0}
    assert recall_at(images, texts, (1,))[1] < 0.5  # the other captions of one image count as errors


def test_a_caption_of_two_images_finds_either_but_not_their_other_captions() -> None:
    images = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    texts = torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.9, 0.1], [0, 1, 0]])
    # pairs: (cat, "photo"), (dog, "photo"), (dog, "a dog"): "a dog" is no hit for the cat
    found = full_gallery_recall(images, texts, (1, 2), np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert (found.images, found.texts) == (2, 2)
    assert found.text_to_image == {1: 1.0, 2: 1.0}
    assert found.image_to_text[1] == pytest.approx((0.5 + 1) / 2)  # both texts are at cosine 0 from the cat
    with pytest.raises(ValueError, match="one a pair"):
        full_gallery_recall(images, texts, (1,), np.array([0, 1]))


def test_equal_rows_share_a_label() -> None:
    rows = np.array([[1.0, 2], [3, 4], [1, 2], [1, 2.5]])
    labels = equal_rows(rows)
    assert labels[0] == labels[2]
    assert len(set(labels)) == 3


def test_recall_change_is_the_difference_on_the_same_batches() -> None:
    before, after = noisy_pairs(6, 600, noise=0.2), noisy_pairs(6, 600, noise=0.9)
    change = recall_change(before, after, rank=5, seed=3)
    batches = [recall_in_batches(*pairs, (5,), seed=3)[5] for pairs in (before, after)]
    full = [full_gallery_recall(*pairs, (5,)).mean[5] for pairs in (before, after)]
    assert change.in_batches == pytest.approx(batches[1] - batches[0])
    assert change.full_gallery == pytest.approx(full[1] - full[0])
    assert change.full_gallery < 0
    assert recall_change(before, before) == retrieval.RecallChange(0, 0)


def test_rows_that_an_intervention_made_equal_score_chance() -> None:
    before = noisy_pairs(7, 512)
    change = recall_change(before, (torch.eye(6)[[0] * 512], before[1]))
    assert change.full_gallery == pytest.approx(1 / 512 - full_gallery_recall(*before, (1,)).mean[1])
    assert change.in_batches == pytest.approx(1 / 256 - recall_in_batches(*before, (1,))[1])


def test_rows_are_zero_only_where_every_entry_is() -> None:
    rows = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0], [torch.nan, 0.0], [-1.0, 1.0]])
    for some in (rows, rows[[1, 3, 4]], rows[:0], rows.view(5, 1, 2), rows.bfloat16()):
        assert torch.equal(not_zero(some), some.any(-1))
    assert torch.equal(directions(rows[:3]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    assert torch.equal(directions(rows[:2]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
