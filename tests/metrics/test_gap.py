import numpy as np
import pytest

from isoenergy.metrics.gap import (
    cone_statistics,
    l2i,
    l2m,
    mean_cosine_within,
    paired_clouds,
    relative_modality_gap,
)
from isoenergy.metrics.geometry import difference_in_means
from tests.metrics.cases import unit


def clouds(seed: int, images: int, texts: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    offset = np.array([1.0, 0, 0, 0, 0])
    return generator.normal(size=(images, 5)) + offset, 3 * (generator.normal(size=(texts, 5)) - offset)


def plain_within(rows: np.ndarray) -> float:
    rows = unit(rows)
    cosine = rows @ rows.T
    return float(np.mean([cosine[i, j] for i in range(len(rows)) for j in range(len(rows)) if i != j]))


@pytest.mark.parametrize("n", [2, 3, 50])
def test_mean_cosine_within_is_the_mean_over_pairs(n: int) -> None:
    images, _ = clouds(n, n, 1)
    assert mean_cosine_within(images) == pytest.approx(plain_within(images), abs=1e-12)
    assert mean_cosine_within(images.astype(np.float32)) == pytest.approx(plain_within(images), abs=1e-6)


def test_l2m_is_the_difference_in_means_of_unit_rows() -> None:
    images, texts = clouds(0, 30, 20)
    assert l2m(images, texts) == pytest.approx(
        difference_in_means(unit(images).mean(0), unit(texts).mean(0)), abs=1e-12
    )
    # the paper's get_modality_gap overwrites the texts with images and sees no gap (paper 5.3, 4)
    assert l2m(images, texts) > 0.5
    assert l2m(images, images) == 0


@pytest.mark.parametrize("captions", [None, 3])
def test_l2i_and_rmg_are_the_formulas(captions: int | None) -> None:
    images, texts = clouds(1, 12, 12 * (captions or 1))
    owner = np.arange(len(texts)) // (captions or 1)
    distance, dissimilarity = [], []
    for text, image in enumerate(owner):
        a, b = unit(images)[image], unit(texts)[text]
        distance.append(np.sqrt(((a - b) ** 2).sum()))
        dissimilarity.append(1 - (a @ b + 1) / 2)
    m = np.mean(dissimilarity)
    i, t = (1 - (plain_within(rows) + 1) / 2 for rows in (images, texts))
    given = owner if captions else None
    assert l2i(images, texts, given) == pytest.approx(np.mean(distance), abs=1e-9)
    assert relative_modality_gap(images, texts, given) == pytest.approx(m / (m + (i + t) / 2), abs=1e-9)


def test_paired_clouds_are_each_measure_to_the_bit() -> None:
    images, texts = clouds(3, 40, 40)
    weights = np.random.default_rng(3).poisson(1.0, (40, 6)).astype(float)
    found = paired_clouds(images, texts, weights)
    assert (found.relative == relative_modality_gap(images, texts, weights=weights)).all()
    assert (found.l2i, found.cones) == (l2i(images, texts), cone_statistics(images, texts))


def test_blocks_of_rows_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = clouds(4, 41, 41)
    weights = np.random.default_rng(4).poisson(1.0, (41, 6)).astype(float)
    whole = paired_clouds(images, texts, weights)
    monkeypatch.setattr("isoenergy.metrics.gap._ROWS_AT_ONCE", 10)
    found = paired_clouds(images, texts, weights)
    assert (found.relative == whole.relative).all()
    assert (found.l2i, found.cones) == (whole.l2i, whole.cones)


def test_captions_in_any_order() -> None:
    images, texts = clouds(2, 4, 8)
    owner = np.array([3, 0, 0, 1, 2, 3, 1, 2])
    order = np.random.default_rng(0).permutation(8)
    assert l2i(images, texts[order], owner[order]) == pytest.approx(l2i(images, texts, owner))
    assert l2i(images, texts, owner) != pytest.approx(l2i(images, texts, np.sort(owner)))


def test_cones_are_the_formulas() -> None:
    images, texts = clouds(3, 14, 9)
    cones = cone_statistics(images, texts)
    assert cones.within_images == pytest.approx(plain_within(images), abs=1e-12)
    assert cones.within_texts == pytest.approx(plain_within(texts), abs=1e-12)
    assert cones.between == pytest.approx(np.mean([a @ b for a in unit(images) for b in unit(texts)]), abs=1e-12)
    assert cones.image_mean_norm == pytest.approx(np.linalg.norm(unit(images).mean(0)), abs=1e-12)
    assert cones.text_mean_norm == pytest.approx(np.linalg.norm(unit(texts).mean(0)), abs=1e-12)


@pytest.mark.filterwarnings("error")
def test_identical_rows_opposite_rows_and_single_rows() -> None:
    same, opposite = np.ones((4, 3)), -np.ones((4, 3))
    assert mean_cosine_within(same) == pytest.approx(1)
    assert relative_modality_gap(same, opposite) == pytest.approx(1)
    assert l2i(same, opposite) == pytest.approx(2)
    spread = np.eye(3)
    assert relative_modality_gap(spread, 2 * spread) == pytest.approx(0)
    assert np.isnan(relative_modality_gap(same[:1], opposite[:1]))
    assert np.isnan(cone_statistics(same[:1], opposite).within_images)
    zero = np.zeros((2, 3))
    assert mean_cosine_within(zero) == 0


def test_no_dissimilarity_has_no_relative_gap() -> None:
    row = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert np.isnan(relative_modality_gap(row, row))


def test_every_text_needs_its_image() -> None:
    images, texts = clouds(0, 3, 4)
    with pytest.raises(ValueError, match="4 texts and 3"):
        l2i(images, texts)
