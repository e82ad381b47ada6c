"""Rows of a gallery that are nearer: bf16 or float32 products with float64 ones behind them count as float64 does."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.metrics import nearer_rows, nearer_screen
from isoenergy.metrics.nearer_rows import Asking
from isoenergy.metrics.retrieval import TIE

ALL = 10**6


@pytest.fixture(params=[0, 2], ids=["float32", "screened"], autouse=True)
def speed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(nearer_rows, "bf16_speed", lambda: request.param)
    return int(request.param)


def unit(rows: int, dim: int, seed: int, mean: float = 0.0) -> Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) + mean, dim=1)


def thresholds(queries: Tensor, gallery: Tensor, rank: int) -> Tensor:
    """Products with each query's nearest row but so many."""
    return (queries @ gallery.T).topk(rank, dim=1).values[:, -1:]


def counted(queries: Tensor, nearest: Tensor, gallery: Tensor, most: int = ALL) -> np.ndarray:
    return Asking(queries, nearest).count(gallery, TIE, np.full(len(queries), most))


def expected(queries: Tensor, nearest: Tensor, gallery: Tensor) -> np.ndarray:
    above = queries.double() @ gallery.double().T - nearest.double()
    return torch.stack([(above > TIE).sum(1), (above.abs() <= TIE).sum(1)]).numpy()


@pytest.mark.parametrize(("dim", "mean"), [(6, 0.0), (64, 0.0), (100, 0.5), (512, 1.0)])
@pytest.mark.parametrize("rank", [3, 400, 600])
def test_counts_are_float64_s_wherever_the_threshold_lies(dim: int, mean: float, rank: int) -> None:
    queries, gallery = unit(70, dim, 0, mean), unit(601, dim, 1, mean)
    nearest = thresholds(queries, gallery, rank)
    if rank == 600:
        nearest[:2] = torch.tensor([[0.0], [-0.0]])
    np.testing.assert_array_equal(counted(queries, nearest, gallery), expected(queries, nearest, gallery))


@pytest.mark.parametrize("dim", [256, 1000, 1536])
def test_rows_of_a_narrow_cone_are_told_apart_where_float32_sums_cannot(dim: int) -> None:
    """Sums of products of one sign are off by several times `TIE`, and the partner would be nearer than itself."""
    signs = torch.randn(200, dim, generator=torch.Generator().manual_seed(13)).sign()
    rows = {"a cone": torch.ones(200, dim) + 0.5 * torch.eye(200, dim), "signs": signs}
    for each in rows.values():
        queries = normalize(each, dim=1)
        nearest = queries.double().square().sum(1, keepdim=True)
        counts = counted(queries, nearest, queries)
        np.testing.assert_array_equal(counts, expected(queries, nearest, queries))
        assert counts.tolist() == [[0] * 200, [1] * 200]


def test_rows_as_near_are_told_from_those_a_little_nearer() -> None:
    queries, partner = unit(40, 64, 2), unit(40, 64, 3)
    away = normalize(queries - (queries * partner).sum(1, keepdim=True) * partner, dim=1)
    shifted = [partner + step * away for step in (0.0, 0.0, 1e-5, 2e-5, -1e-5)]
    others = unit(300, 64, 4)
    for query, rows in zip(queries, torch.stack(shifted, 1), strict=True):
        nearest = (query @ rows[0]).view(1, 1)
        counts = counted(query[None], nearest, torch.cat([rows, others]))
        far = expected(query[None], nearest, others)
        np.testing.assert_array_equal(counts - far, [[2], [2]])


@pytest.mark.parametrize("most", [1, 10])
def test_a_query_is_counted_until_so_many_are_nearer(most: int) -> None:
    queries, gallery = unit(90, 32, 5), unit(4000, 32, 6)
    nearest = thresholds(queries, gallery, 7)
    nearest[::2] = thresholds(queries, gallery, 2500)[::2]
    counts, every = counted(queries, nearest, gallery, most), expected(queries, nearest, gallery)
    missed = every[0] >= most
    assert 0 < missed.sum() < len(queries) or most == 1
    np.testing.assert_array_equal(counts[:, ~missed], every[:, ~missed])
    assert (counts[0, missed] >= most).all()
    assert (counts[0] <= every[0]).all()
    assert counts[0, ::2].max() < 1200  # of 2,500: the rest was not looked at


def test_queries_that_want_nothing_more_and_an_empty_gallery_are_left_alone() -> None:
    queries, gallery = unit(5, 8, 7), unit(20, 8, 8)
    nearest = torch.full((5, 1), -1.0)
    assert counted(queries, nearest, gallery, 0).tolist() == [[0] * 5] * 2
    assert counted(queries, nearest, gallery[:0]).tolist() == [[0] * 5] * 2
    assert counted(queries[:0], nearest[:0], gallery).shape == (2, 0)


def test_what_the_errors_leave_open_is_little_and_decides(speed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them counts would be wrong: so much do products in bf16 differ."""
    queries, gallery = unit(64, 256, 9), unit(8000, 256, 10)
    nearest = thresholds(queries, gallery, 3)
    opened = []
    decide = nearer_screen._decide

    def counting(*arrays: np.ndarray) -> np.ndarray:
        opened.append(len(arrays[1]))
        counts: np.ndarray = decide(*arrays)
        return counts

    monkeypatch.setattr(nearer_screen, "_decide", counting)
    found = expected(queries, nearest, gallery)
    np.testing.assert_array_equal(counted(queries, nearest, gallery), found)
    assert (0 < sum(opened) < 0.8 * 8 * len(queries)) == bool(speed)
    monkeypatch.setattr(nearer_screen, "_error", lambda *_: 0.0)
    monkeypatch.setattr(nearer_screen, "_BF16_ROUNDING", 0.0)
    assert (counted(queries, nearest, gallery) != found).any() == bool(speed)


def test_where_all_is_open_the_products_of_all_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normalize(unit(300, 64, 11) * 1e-4 + unit(1, 64, 12), dim=1)
    monkeypatch.setattr(nearer_screen, "_decide", None)
    assert counted(rows[:9], torch.ones(9, 1), rows[:256]).tolist() == [[0] * 9, [256] * 9]
