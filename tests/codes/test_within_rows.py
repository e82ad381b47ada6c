import pytest
import torch
from torch import Tensor

from isoenergy.codes import within_rows
from isoenergy.codes.sparse_codes import SparseCodes


def random_codes(rows: int, k: int, atoms: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(atoms, (rows, k), generator=generator, dtype=torch.int32)
    return indices, torch.randn(rows, k, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "k", "atoms"), [(0, 3, 5), (1, 1, 1), (7, 10, 3), (700, 10, 140), (300, 33, 20)])
def test_merged_values_are_those_with_a_gradient(rows: int, k: int, atoms: int, dtype: torch.dtype) -> None:
    indices, values = random_codes(rows, k, atoms, seed=rows, dtype=dtype)
    codes = SparseCodes(indices, values.requires_grad_(), torch.zeros(rows, 2))
    plain = codes.merged_values()
    assert plain.requires_grad
    found = within_rows.merged(indices, values)
    torch.testing.assert_close(found, plain.detach(), rtol=1e-5, atol=1e-6)
    assert torch.equal(found != 0, plain != 0)


@pytest.mark.parametrize(("rows", "k", "atoms"), [(0, 3, 5), (1, 1, 1), (700, 10, 140), (300, 33, 20)])
def test_the_largest_come_first_and_what_is_given_stays(rows: int, k: int, atoms: int) -> None:
    indices, values = random_codes(rows, k, atoms, seed=rows)
    given = indices.clone(), values.clone()
    found, sizes = within_rows.largest_first(indices, values)
    merged = within_rows.merged(indices, values)
    order = merged.abs().sort(dim=1, descending=True, stable=True).indices
    assert torch.equal(sizes, merged.gather(1, order))
    assert torch.equal(found, indices.gather(1, order))
    assert torch.equal(indices, given[0])
    assert torch.equal(values, given[1])


@pytest.mark.parametrize(("rows", "k", "other_k", "atoms"), [(0, 3, 3, 5), (1, 1, 4, 2), (600, 10, 7, 12)])
def test_what_the_other_code_has_at_an_atom_is_read_off_its_dense_row(
    rows: int, k: int, other_k: int, atoms: int
) -> None:
    indices, _ = random_codes(rows, k, atoms, seed=1)
    other, values = random_codes(rows, other_k, atoms, seed=2)
    dense = SparseCodes(other, values, torch.zeros(rows, 2)).to_dense(atoms)
    torch.testing.assert_close(within_rows.met(indices, other, values), dense.gather(1, indices.long()))


def test_columns_of_other_arrays_are_taken_as_they_are() -> None:
    indices, values = random_codes(9, 8, 4, seed=3)
    found = within_rows.merged(indices[:, ::2], values[:, 1:5])
    torch.testing.assert_close(found, within_rows.merged(indices[:, ::2].clone(), values[:, 1:5].clone()))
    assert within_rows.met(indices[:, ::2], indices[:, 1:3], values[:, 4:6]).shape == (9, 4)


@pytest.mark.parametrize("with_itself", [True, False])
def test_gradients_of_inner_products_are_those_of_dense_codes(with_itself: bool) -> None:
    indices, values = random_codes(50, 6, 5, seed=4, dtype=torch.float64)
    other_indices, other_values = random_codes(50, 6, 5, seed=5, dtype=torch.float64)
    gradients = []
    for dense in (False, True):
        mine, theirs = (part.clone().requires_grad_() for part in (values, other_values))
        one = SparseCodes(indices, mine, torch.zeros(50, 2))
        other = one if with_itself else SparseCodes(other_indices, theirs, torch.zeros(50, 2))
        inner = (one.to_dense(5) * other.to_dense(5)).sum(1) if dense else one.inner(other)
        (inner * torch.linspace(-1, 2, 50, dtype=torch.float64)).sum().backward()
        gradients.append([mine.grad] if with_itself else [mine.grad, theirs.grad])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)
