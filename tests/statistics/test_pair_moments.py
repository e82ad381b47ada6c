from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.statistics.pair_moments import PairMoments


def pairs(seed: int, rows: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(rows, dim, generator=generator) + 2
    texts = images @ torch.randn(dim, dim, generator=generator) - 1
    return images.to(dtype), texts.to(dtype)


def moments_of(images: torch.Tensor, texts: torch.Tensor) -> PairMoments:
    moments = PairMoments.zeros(images.shape[1])
    moments.update(images, texts)
    return moments


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "dim"), [(1, 3), (5, 9), (5000, 7)])
def test_means_and_covariances_are_those_of_all_rows(rows: int, dim: int, dtype: torch.dtype) -> None:
    images, texts = pairs(0, rows, dim, dtype)
    moments = moments_of(images, texts)
    x, y = images.double().numpy(), texts.double().numpy()
    whole = np.cov(x.T, y.T, bias=True)
    np.testing.assert_allclose(moments.image_mean, x.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.text_mean, y.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.gap, x.mean(0) - y.mean(0), atol=1e-12)
    np.testing.assert_allclose(moments.image_covariance, whole[:dim, :dim], atol=1e-10)
    np.testing.assert_allclose(moments.text_covariance, whole[dim:, dim:], atol=1e-10)
    np.testing.assert_allclose(moments.cross_covariance, whole[:dim, dim:], atol=1e-10)
    assert moments.pairs == rows
    assert moments.dim == dim


def test_a_variance_far_below_the_mean_survives_centring() -> None:
    # the squares are 1e8 times the variance, which is below what float32 products resolve
    rows = 10 + 1e-3 * torch.randn(10_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = [Fraction(value) for value in rows[:, 0].tolist()]
    mean = sum(values) / len(values)
    exact = float(sum((value - mean) ** 2 for value in values) / len(values))
    assert moments_of(rows, rows).image_covariance[0, 0] == pytest.approx(exact, rel=1e-5)


def test_parts_of_any_size_merge_into_the_whole_and_stay_as_they_were() -> None:
    images, texts = pairs(1, 4097 + 300, 4)
    whole = moments_of(images, texts)
    first, rest = moments_of(images[:300], texts[:300]), moments_of(images[300:], texts[300:])
    before = first.image_second.copy()
    merged = first.merge(rest).merge(PairMoments.zeros(4))
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(merged, name), value, rtol=1e-12)
    np.testing.assert_array_equal(first.image_second, before)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    moments = moments_of(*pairs(2, 10, 3))
    moments.save(tmp_path / "moments.safetensors")
    loaded = PairMoments.load(tmp_path / "moments.safetensors")
    assert isinstance(loaded.pairs, int)
    for name, value in vars(moments).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    loaded.update(*pairs(3, 2, 3))
    assert loaded.pairs == 12


def test_no_pairs_have_moments_of_zero() -> None:
    moments = PairMoments.zeros(3)
    moments.update(torch.empty(0, 3), torch.empty(0, 3))
    for value in (moments.gap, moments.image_covariance, moments.text_covariance, moments.cross_covariance):
        assert not value.any()


@pytest.mark.parametrize(("images", "texts"), [((2, 3), (3, 3)), ((2, 3), (2, 4)), ((2, 4), (2, 4)), ((3,), (3,))])
def test_rows_that_do_not_pair_up_are_refused(images: tuple[int, ...], texts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pair up"):
        PairMoments.zeros(3).update(torch.zeros(images), torch.zeros(texts))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_added(bad: float) -> None:
    images, texts = pairs(4, 5000, 3)
    texts[4999, 1] = bad
    moments = PairMoments.zeros(3)
    with pytest.raises(ValueError, match="texts hold numbers that are not finite"):
        moments.update(images, texts)
    assert moments.pairs == 0
    assert not moments.image_first.any()


def test_rows_that_require_gradients_are_read() -> None:
    images, texts = pairs(5, 6, 3)
    expected = moments_of(images, texts)
    np.testing.assert_array_equal(moments_of(images.requires_grad_(), texts).cross, expected.cross)
