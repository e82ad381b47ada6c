from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from torch.nn.functional import normalize

from isoenergy.errors import InputError
from isoenergy.interventions.gap_closing import (
    Affine,
    GapClosing,
    canonical_correlation,
    centring,
    coral,
    midpoint_shift,
    random_shift,
    standardisation,
    whitening,
    without_gap_dimensions,
    without_gap_direction,
    without_own_mean,
)
from isoenergy.metrics.retrieval import recall_at
from isoenergy.statistics.pair_moments import PairMoments

DIM = 6
EVERY: dict[str, Callable[[PairMoments], GapClosing]] = {
    "centring": centring,
    "midpoint_shift": midpoint_shift,
    "random_shift": lambda moments: random_shift(moments, 0),
    "without_gap_dimensions": lambda moments: without_gap_dimensions(moments, 2),
    "without_gap_direction": without_gap_direction,
    "without_own_mean": without_own_mean,
    "standardisation": standardisation,
    "canonical_correlation": lambda moments: canonical_correlation(moments, 3),
    "canonical_correlation without ridge": lambda moments: canonical_correlation(moments, 3, 0),
    "whitening": whitening,
    "whitening without ridge": lambda moments: whitening(moments, 0),
    "coral": coral,
    "coral without ridge": lambda moments: coral(moments, 0),
}


def pairs(seed: int, rows: int, dim: int = DIM, gap: float = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs with a shared part, covariances of their own and a gap."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = normal(rows, dim)
    images, texts = (shared @ normal(dim, dim) + 0.3 * normal(rows, dim) @ normal(dim, dim) for _ in range(2))
    return images + gap * normal(dim), texts + gap * normal(dim)


def moments_of(images: torch.Tensor, texts: torch.Tensor) -> PairMoments:
    moments = PairMoments.zeros(images.shape[1])
    moments.update(images, texts)
    return moments


def covariance(rows: torch.Tensor) -> torch.Tensor:
    return torch.cov(rows.double().T, correction=0)


@pytest.fixture(scope="module")
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    return pairs(0, 500)


@pytest.fixture(scope="module")
def moments(rows: tuple[torch.Tensor, torch.Tensor]) -> PairMoments:
    return moments_of(*rows)


def test_an_affine_map_of_nothing_is_the_identity() -> None:
    rows = torch.randn(3, 2)
    torch.testing.assert_close(Affine()(rows), rows)


@pytest.mark.parametrize("name", EVERY)
def test_maps_are_single_precision_and_keep_the_rows_when_these_are_double(
    name: str, moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    closing = EVERY[name](moments)
    for affine in (closing.image, closing.text):
        assert all(part is None or part.dtype == torch.float32 for part in (affine.matrix, affine.offset))
    for dtype, out in ((torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)):
        images, texts = closing(rows[0].to(dtype), rows[1].to(dtype)[:7])
        assert images.dtype == texts.dtype == out
        assert (len(images), len(texts)) == (500, 7)


def degenerate(case: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, texts = pairs(1, 4)
    if case == "one pair":
        return images[:1], texts[:1]
    if case == "constant dimensions":
        images[:, :4] = 7
        texts[:, 1] = 0
    if case == "no pairs":
        return images[:0], texts[:0]
    if case == "rows of zeros":
        return torch.zeros_like(images), torch.zeros_like(texts)
    if case == "tiny numbers":
        return images * 1e-12, texts * 1e-12
    return images, texts


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "case",
    ["fewer pairs than dimensions", "one pair", "constant dimensions", "no pairs", "rows of zeros", "tiny numbers"],
)
def test_degenerate_covariances_give_finite_maps(name: str, case: str) -> None:
    closing = EVERY[name](moments_of(*degenerate(case)))
    for mapped in closing(*pairs(2, 10)):
        assert torch.isfinite(mapped).all()


def test_centring_leaves_means_of_zero(moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    for mapped in centring(moments)(*rows):
        torch.testing.assert_close(mapped.mean(0), torch.zeros(DIM, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", [-0.5, 0, 0.25, 1, 2])
def test_a_step_closes_its_share_of_the_gap_and_keeps_the_midpoint(
    step: float, moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    image, text = (mapped.mean(0).numpy() for mapped in midpoint_shift(moments, step)(*rows))
    np.testing.assert_allclose(image - text, (1 - step) * moments.gap, atol=1e-5)
    np.testing.assert_allclose(image + text, moments.image_mean + moments.text_mean, atol=1e-5)


def test_the_random_shift_is_not_the_midpoint_but_one_unit_vector_for_both(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    # in the paper's demo it is a copy of the midpoint shift (paper 5.3, 11)
    image, text = (mapped.mean(0) for mapped in random_shift(moments, 0)(*rows))
    torch.testing.assert_close(image, text, atol=1e-5, rtol=0)
    assert image.norm().item() == pytest.approx(1, abs=1e-5)
    again, other = (random_shift(moments, seed)(*rows)[0].mean(0) for seed in (0, 1))
    torch.testing.assert_close(again, image)
    assert (other @ image).item() < 0.99


def test_the_dimensions_where_the_means_differ_most_become_zero() -> None:
    images = torch.tensor([[1.0, -9, 3, 0], [1, -9, 5, 0]])
    mapped, text = without_gap_dimensions(moments_of(images, torch.zeros(2, 4)), 2)(images, torch.ones(2, 4))
    assert mapped.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert text.tolist() == [[1, 0, 0, 1]] * 2


def test_no_dimension_removed_changes_nothing(moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(without_gap_dimensions(moments, 0)(*rows)[0], rows[0])


@pytest.mark.parametrize("k", [-1, DIM, 100])
def test_as_many_dimensions_as_there_are_cannot_be_removed(k: int, moments: PairMoments) -> None:
    with pytest.raises(InputError, match=f"{k} gap dimensions of {DIM}"):
        without_gap_dimensions(moments, k)


def test_without_the_gap_direction_the_means_are_one_and_the_rest_is_kept(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    image, text = without_gap_direction(moments)(*rows)
    torch.testing.assert_close(image.mean(0), text.mean(0), atol=1e-5, rtol=0)
    across = torch.from_numpy(moments.gap) / np.linalg.norm(moments.gap)
    torch.testing.assert_close(image + (rows[0] @ across)[:, None] * across, rows[0], atol=1e-5, rtol=1e-5)


def test_each_modality_loses_the_direction_of_its_own_mean_and_nothing_else(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    mapped = without_own_mean(moments)(*rows)
    for before, after, mean in zip(rows, mapped, (moments.image_mean, moments.text_mean), strict=True):
        own = torch.from_numpy(mean) / np.linalg.norm(mean)
        torch.testing.assert_close(after @ own, torch.zeros(500, dtype=torch.float64), atol=1e-5, rtol=0)
        torch.testing.assert_close(after + (before @ own)[:, None] * own, before, atol=1e-5, rtol=1e-5)


def test_standardised_coordinates_have_no_mean_and_the_modalitys_mean_variance(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    for before, after in zip(rows, standardisation(moments)(*rows), strict=True):
        torch.testing.assert_close(after.mean(0), torch.zeros(DIM, dtype=torch.float64), atol=1e-5, rtol=0)
        variance = before.var(0, correction=0).mean()
        torch.testing.assert_close(after.var(0, correction=0), variance.expand(DIM), atol=1e-4, rtol=1e-4)
        scaled = (after / (before - before.mean(0))).std(0)
        torch.testing.assert_close(scaled, torch.zeros(DIM, dtype=torch.float64), atol=1e-3, rtol=0)


def test_a_coordinate_that_does_not_vary_is_zero_when_standardised() -> None:
    images = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    mapped, _ = standardisation(moments_of(images, images))(images, images)
    torch.testing.assert_close(mapped, torch.tensor([[-(0.5**0.5), 0.0], [0.5**0.5, 0.0]]))


def test_without_a_gap_there_is_no_direction_to_remove() -> None:
    rows = torch.randn(5, 3)
    torch.testing.assert_close(without_gap_direction(moments_of(rows, rows))(rows, rows)[0], rows)


@pytest.mark.parametrize("ridge", [0, 1e-3, 0.5])
def test_canonical_correlations_are_those_of_the_generalised_eigenvalue_problem(
    ridge: float, moments: PairMoments
) -> None:
    image, text = (
        each + ridge * np.trace(each) / DIM * np.eye(DIM)
        for each in (moments.image_covariance, moments.text_covariance)
    )
    cross, zero = moments.cross_covariance, np.zeros((DIM, DIM))
    values, vectors = eigh(np.block([[zero, cross], [cross.T, zero]]), np.block([[image, zero], [zero, text]]))
    expected, vectors = values[::-1][:4], vectors[:, ::-1][:, :4] * np.sqrt(2)
    found = canonical_correlation(moments, 4, ridge, power=0)
    u, v = found.image.matrix.double().numpy(), found.text.matrix.double().numpy()
    np.testing.assert_allclose(np.diag(u.T @ cross @ v), expected, atol=1e-5)
    np.testing.assert_allclose(u.T @ image @ u, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(v.T @ text @ v, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(u.T @ cross @ v, np.diag(expected), atol=1e-5)
    np.testing.assert_allclose(np.abs(u), np.abs(vectors[:DIM]), atol=1e-4)
    np.testing.assert_allclose(np.abs(v), np.abs(vectors[DIM:]), atol=1e-4)
    scaled = canonical_correlation(moments, 4, ridge)
    np.testing.assert_allclose(scaled.image.matrix, u * expected, atol=1e-5)
    np.testing.assert_allclose(scaled.text.matrix, v * expected, atol=1e-5)


def test_canonical_rows_are_centred(moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    for mapped in canonical_correlation(moments, 3)(*rows):
        torch.testing.assert_close(mapped.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_canonical_correlation_finds_pairs_that_cosines_of_the_rows_do_not() -> None:
    images, texts = (part.float() for part in pairs(3, 600, dim=24))
    closing = canonical_correlation(moments_of(images[:400], texts[:400]), 24)
    before = recall_at(normalize(images[400:]), normalize(texts[400:]), (1,))[1]
    after = recall_at(*map(normalize, closing(images[400:], texts[400:])), (1,))[1]
    assert before < 0.05
    assert after > 0.5


@pytest.mark.parametrize("rank", [0, -1, DIM + 1])
def test_a_rank_beyond_the_dimensions_is_refused(rank: int, moments: PairMoments) -> None:
    with pytest.raises(InputError, match=f"rank {rank}"):
        canonical_correlation(moments, rank)


@pytest.mark.parametrize("ridge", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "constructor", [whitening, coral, lambda moments, ridge: canonical_correlation(moments, 1, ridge)]
)
def test_a_ridge_that_is_negative_or_not_finite_is_refused(
    constructor: Callable[[PairMoments, float], GapClosing], ridge: float, moments: PairMoments
) -> None:
    with pytest.raises(InputError, match=f"ridge of {ridge}"):
        constructor(moments, ridge)


def test_whitened_rows_are_centred_with_the_identity_for_covariance(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    closing = whitening(moments, 0)
    for mapped, affine in zip(closing(*rows), (closing.image, closing.text), strict=True):
        torch.testing.assert_close(mapped.mean(0), torch.zeros(DIM, dtype=torch.float64), atol=1e-4, rtol=0)
        torch.testing.assert_close(covariance(mapped), torch.eye(DIM, dtype=torch.float64), atol=1e-4, rtol=0)
        torch.testing.assert_close(affine.matrix, affine.matrix.T)  # ZCA turns nothing


def test_whitening_of_few_pairs_is_a_projection_onto_their_span() -> None:
    images, texts = pairs(4, 4)
    closing = whitening(moments_of(images, texts), 0)
    mapped, _ = closing(images, texts)
    assert torch.linalg.matrix_rank(closing.image.matrix, rtol=1e-4) == 3
    values = torch.linalg.eigvalsh(covariance(mapped))
    torch.testing.assert_close(values, torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.float64), atol=1e-4, rtol=0)


def test_a_ridge_bounds_what_whitening_blows_up() -> None:
    images, texts = pairs(5, 100)
    images[:, 0] = 1e-9 * images[:, 1]
    spread = whitening(moments_of(images, texts), 1e-3).image.matrix
    mean_variance = np.trace(covariance(images).numpy()) / DIM
    assert torch.linalg.matrix_norm(spread, 2).item() == pytest.approx((1e-3 * mean_variance) ** -0.5, rel=1e-3)


def test_coral_gives_images_the_mean_and_covariance_of_texts_and_leaves_texts(
    moments: PairMoments, rows: tuple[torch.Tensor, torch.Tensor]
) -> None:
    images, texts = coral(moments, 0)(*rows)
    torch.testing.assert_close(texts, rows[1])
    torch.testing.assert_close(images.mean(0), texts.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance(images), covariance(texts), atol=1e-4, rtol=1e-4)


def test_coral_of_modalities_with_one_covariance_only_shifts(rows: tuple[torch.Tensor, torch.Tensor]) -> None:
    images = rows[0]
    moved, _ = coral(moments_of(images, images + 5), 0.1)(images, images)
    torch.testing.assert_close(moved, images + 5, atol=1e-4, rtol=0)
