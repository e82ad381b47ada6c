import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from isoenergy.pursuit import matching_pursuit


def textbook(x: Tensor, dictionary: Tensor, k: int) -> tuple[list[list[int]], Tensor]:
    """Matching Pursuit as the paper writes it, row by row and with dense codes."""
    dense, chosen = torch.zeros(len(x), len(dictionary), dtype=x.dtype), []
    for row, residual in enumerate(x):
        picks = []
        for _ in range(k):
            scores = dictionary @ residual
            best = int(scores.argmax())
            dense[row, best] += scores[best]
            residual = residual - scores[best] * dictionary[best]
            picks.append(best)
        chosen.append(picks)
    return chosen, dense


def random_case(seed: int, batch: int, dim: int, atoms: int, unit: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, dim, dtype=torch.float64, generator=generator)
    dictionary = torch.randn(atoms, dim, dtype=torch.float64, generator=generator)
    return x, dictionary / dictionary.norm(dim=1, keepdim=True) * (1 if unit else 0.8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 5), st.integers(1, 6), st.integers(1, 9), st.integers(1, 8), st.booleans())
def test_agrees_with_the_textbook(seed: int, batch: int, dim: int, atoms: int, k: int, unit: bool) -> None:
    x, dictionary = random_case(seed, batch, dim, atoms, unit)
    codes = matching_pursuit(x, dictionary, k)
    chosen, dense = textbook(x, dictionary, k)
    assert codes.indices.tolist() == chosen
    torch.testing.assert_close(codes.to_dense(atoms), dense)
    torch.testing.assert_close(codes.residual, x - dense @ dictionary)


def test_energy_is_kept_with_unit_atoms() -> None:
    x, dictionary = random_case(1, 20, 8, 30, unit=True)
    codes = matching_pursuit(x, dictionary, 5)
    torch.testing.assert_close(codes.values.square().sum(1) + codes.residual.square().sum(1), x.square().sum(1))


def test_ties_go_to_the_lowest_index() -> None:
    dictionary = torch.eye(3)[[1, 0, 0, 1]]
    assert matching_pursuit(torch.tensor([[1.0, 1.0, 0.0]]), dictionary, 2).indices.tolist() == [[0, 1]]


def test_an_atom_may_repeat() -> None:
    codes = matching_pursuit(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.0]]), 3)
    assert codes.indices.tolist() == [[0, 0, 0]]
    assert codes.values.tolist() == [[0.5, 0.375, 0.28125]]


def test_zero_rows_have_zero_codes() -> None:
    codes = matching_pursuit(torch.zeros(2, 4), torch.eye(4), 2)
    assert not codes.values.any()
    assert not codes.residual.any()


def test_gradients_flow_through_every_round() -> None:
    x, dictionary = random_case(3, 4, 5, 7, unit=False)
    x.requires_grad_()
    dictionary.requires_grad_()

    def outputs(x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor]:
        codes = matching_pursuit(x, dictionary, 4)
        return codes.values, codes.residual

    assert torch.autograd.gradcheck(outputs, (x, dictionary))


@pytest.mark.parametrize(
    ("x", "dictionary", "k", "named"),
    [
        (torch.zeros(3), torch.eye(3), 1, "x must"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.eye(3), 1, "x must"),
        (torch.zeros(2, 3), torch.eye(4), 1, "dictionary must"),
        (torch.zeros(2, 3), torch.zeros(0, 3), 1, "dictionary must"),
        (torch.zeros(2, 3), torch.eye(3, dtype=torch.float64), 1, "dictionary must"),
        (torch.zeros(2, 3), torch.eye(3), 0, "k must"),
    ],
)
def test_a_wrong_argument_is_named(x: Tensor, dictionary: Tensor, k: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        matching_pursuit(x, dictionary, k)
