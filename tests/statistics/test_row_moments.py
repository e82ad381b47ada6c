import pytest
import torch

from isoenergy.statistics.row_moments import RowMoments


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "dim"), [(0, 5), (1, 1), (33, 77), (200, 512)])
def test_sums_are_those_of_float64(rows: int, dim: int, dtype: torch.dtype) -> None:
    given = torch.randn(2 * rows, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64)[::2].to(dtype)
    found, exact = RowMoments.of(given.requires_grad_()), given.detach().double()
    for ours, theirs in zip(found, (exact.sum(1), exact.square().sum(1), exact.sum(0)), strict=True):
        torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-13, atol=1e-12)
