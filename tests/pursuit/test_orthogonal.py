import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp

from isoenergy.pursuit import PursuitPolicy, matching_pursuit, orthogonal_matching_pursuit


def problem(batch: int, dim: int, atoms: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, dim, generator=generator, dtype=torch.float64)
    dictionary = torch.randn(atoms, dim, generator=generator, dtype=torch.float64)
    return x, torch.nn.functional.normalize(dictionary, dim=1)


def test_it_equals_scikit_learns() -> None:
    x, dictionary = problem(25, 20, 60)
    ours = orthogonal_matching_pursuit(x, dictionary, 6)
    theirs = orthogonal_mp(dictionary.numpy().T, x.numpy().T, n_nonzero_coefs=6).T
    np.testing.assert_allclose(ours.to_dense(60).numpy(), theirs, atol=1e-10)
    torch.testing.assert_close(ours.residual, x - ours.to_dense(60) @ dictionary)


def test_it_leaves_less_than_matching_pursuit_and_never_repeats_an_atom() -> None:
    x, dictionary = problem(40, 16, 200)
    ours = orthogonal_matching_pursuit(x, dictionary, 10)
    plain = matching_pursuit(x, dictionary, 10, policy=PursuitPolicy("absolute"))
    assert (ours.residual.norm(dim=1) <= plain.residual.norm(dim=1) + 1e-12).all()
    assert all(len(set(row)) == 10 for row in ours.indices.tolist())


@pytest.mark.parametrize("batch", [0, 1])
def test_more_rounds_than_dimensions_stop_at_a_residual_of_rounding(batch: int) -> None:
    x, dictionary = problem(batch, 5, 30)
    x = torch.cat([x, torch.zeros(1, 5, dtype=torch.float64)])
    ours = orthogonal_matching_pursuit(x, dictionary, 9)
    assert ours.residual.norm(dim=1).max() < 1e-12
    assert (ours.values != 0).sum(dim=1).max() <= 5
    assert not ours.values[-1].any()


def test_a_tolerance_stops_a_row() -> None:
    x, dictionary = problem(30, 16, 100)
    ours = orthogonal_matching_pursuit(x, dictionary, 16, PursuitPolicy("absolute", tolerance=1.0))
    full = orthogonal_matching_pursuit(x, dictionary, 16)
    assert ours.residual.norm(dim=1).max() <= 1.0
    assert (ours.values != 0).sum() < (full.values != 0).sum()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="k must be"):
        orthogonal_matching_pursuit(torch.ones(2, 4), torch.ones(3, 4), 0)
