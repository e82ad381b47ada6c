from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.metrics.reconstruction import ReconstructionSums, mean_squared_error, r2_centred, r2_of_means, r2_paper


def sums(x: torch.Tensor, residual: torch.Tensor) -> ReconstructionSums:
    total = ReconstructionSums.zeros(x.shape[1])
    total.update(x[:4], residual[:4])
    rest = ReconstructionSums.zeros(x.shape[1])
    rest.update(x[4:], residual[4:])
    return total.merge(rest)


@pytest.fixture
def case() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    offset = torch.tensor([2.0, -1.0, 0.5])
    return {
        name: (torch.randn(n, 3, generator=generator) + offset, 0.3 * torch.randn(n, 3, generator=generator))
        for name, n in (("image", 10), ("text", 25))
    }


def test_mse_is_a_row_s_summed_error(case) -> None:
    expected = torch.cat([residual for _, residual in case.values()]).square().sum(1).mean()
    assert mean_squared_error(sums(*case["image"]), sums(*case["text"])) == pytest.approx(float(expected), rel=1e-6)


def test_r2_s_agree_with_their_definitions(case) -> None:
    paper, centred = 0.0, 0.0
    for x, residual in case.values():
        x, residual = x.double().numpy(), residual.double().numpy()
        paper += len(x) / 35 * (1 - (residual**2).mean() / (((x - x.mean()) ** 2).mean() + 1e-6))
        centred += len(x) / 35 * (1 - (residual**2).sum() / ((x - x.mean(0)) ** 2).sum())
    both = sums(*case["image"]), sums(*case["text"])
    assert r2_paper(*both) == pytest.approx(paper)
    assert r2_centred(*both) == pytest.approx(centred)
    assert r2_centred(*both) < r2_paper(*both)
    means = [(x, x - x.mean(0)) for x, _ in case.values()]
    assert r2_of_means(*(sums(*each) for each in case.values())) == pytest.approx(
        r2_paper(*(sums(*each) for each in means)), rel=1e-5
    )


def test_saved_sums_load(case, tmp_path: Path) -> None:
    total = sums(*case["text"])
    total.save(tmp_path / "sums.safetensors")
    loaded = ReconstructionSums.load(tmp_path / "sums.safetensors")
    assert (loaded.rows, loaded.second, loaded.squared_error) == (total.rows, total.second, total.squared_error)
    np.testing.assert_array_equal(loaded.first, total.first)
