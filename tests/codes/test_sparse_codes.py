import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from isoenergy import SparseCodes
from isoenergy.codes.sparse_codes import DenseCodes, concatenate

ATOMS, ROWS = 7, 12
CODES = SparseCodes(
    torch.tensor([[3, 1, 3], [0, 0, 0], [2, 1, 0]], dtype=torch.int32),
    torch.tensor([[1.0, 2.0, 0.5], [1.0, -1.0, 2.0], [0.0, 3.0, 1.0]]),
    torch.zeros(3, 2),
)


def codes_with_repeats(seed: int, k: int = 5) -> SparseCodes:
    """Positive coefficients of atoms that repeat in a row; a row of zeros, and an atom chosen with nothing."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(ATOMS, (ROWS, k), generator=generator, dtype=torch.int32)
    values = torch.rand(ROWS, k, dtype=torch.float64, generator=generator) + 0.1
    values[3], values[5, 0] = 0, 0
    return SparseCodes(indices, values, torch.rand(ROWS, 2, dtype=torch.float64, generator=generator))


def as_dense(codes: SparseCodes) -> DenseCodes:
    return DenseCodes(codes.to_dense(ATOMS), codes.residual)


def test_to_dense_adds_repeated_atoms() -> None:
    expected = torch.tensor([[0, 2, 0, 1.5], [2, 0, 0, 0], [1, 3, 0, 0]])
    assert torch.equal(CODES.to_dense(4), expected)


def test_merged_values_stand_at_the_first_place() -> None:
    assert torch.equal(CODES.merged_values(), torch.tensor([[1.5, 2, 0], [2, 0, 0], [0, 3, 1]]))


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that an operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_wide_codes_are_merged_without_a_table_of_all_meetings() -> None:
    wide = SparseCodes(torch.randint(500, (8, 300), dtype=torch.int32), torch.rand(8, 300), torch.zeros(8, 1))
    with LargestTensor() as largest:
        merged = wide.merged_values()
    assert largest.numbers == 8 * 300
    first = SparseCodes(wide.indices, merged, wide.residual)
    torch.testing.assert_close(first.to_dense(500), wide.to_dense(500))
    assert torch.equal((merged != 0).sum(1), (wide.to_dense(500) != 0).sum(1))


def test_keep_zeroes_the_other_atoms() -> None:
    mask = torch.tensor([False, True, False, False])
    assert torch.equal(CODES.keep(mask).to_dense(4), CODES.to_dense(4) * mask)


@pytest.mark.parametrize("rows", [0, 4, ROWS])
def test_both_kinds_split_alike(rows: int) -> None:
    codes = codes_with_repeats(0)
    for sparse, dense in zip(codes.split(rows), as_dense(codes).split(rows), strict=True):
        assert len(sparse) == len(dense)
        assert torch.equal(sparse.to_dense(ATOMS), dense.values)
        assert torch.equal(sparse.residual, dense.residual)
        torch.testing.assert_close(sparse.energy(ATOMS), dense.energy(ATOMS))


def test_both_kinds_answer_alike() -> None:
    one, other = codes_with_repeats(1), codes_with_repeats(2, k=3)
    a, b = one.to_dense(ATOMS), other.to_dense(ATOMS)
    expected: dict[str, Tensor] = {
        "inner": (a * b).sum(1),
        "group_norms": torch.stack([a, b]).norm(dim=0).sum(1),
        "energy": a.square().mean(0),
        "absolute": a.abs().sum(1),
        "fires": (a != 0).sum(0).float(),
    }
    for mine, theirs in ((one, other), (as_dense(one), as_dense(other))):
        answers = {
            "inner": mine.inner(theirs),
            "group_norms": mine.group_norms(theirs),
            "energy": mine.energy(ATOMS),
            "absolute": mine.absolute(),
            "fires": mine.fires(ATOMS),
        }
        for name, answer in answers.items():
            torch.testing.assert_close(answer, expected[name], msg=lambda text, name=name: f"{name}: {text}")
            assert not answer.isnan().any()


def test_both_kinds_leave_out_the_strongest_atoms_alike() -> None:
    one, other = codes_with_repeats(3), codes_with_repeats(4)
    tops = one.strongest_atom(), other.strongest_atom()
    expected = one.to_dense(ATOMS)
    for row in range(ROWS):
        if expected[row].any() and other.values[row].any():
            assert int(tops[0][row]) == int(one.to_dense(ATOMS)[row].argmax())
            expected[row, other.to_dense(ATOMS)[row].argmax()] = 0
            expected[row, one.to_dense(ATOMS)[row].argmax()] = 0
    assert torch.equal(one.without(*tops).to_dense(ATOMS), expected)
    dense = as_dense(one)
    assert torch.equal(dense.without(dense.strongest_atom(), as_dense(other).strongest_atom()).values, expected)


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("method", ["inner", "group_norms", "energy", "absolute", "without"])
def test_gradients_are_those_of_finite_differences(kind: str, method: str) -> None:
    one, other = codes_with_repeats(5), codes_with_repeats(6, k=4)

    def answer(mine: Tensor, theirs: Tensor) -> Tensor:
        a = SparseCodes(one.indices, mine, one.residual)
        b = SparseCodes(other.indices, theirs, other.residual)
        if kind == "dense":
            a, b = as_dense(a), as_dense(b)
        if method == "without":
            return a.without(a.strongest_atom()).inner(b)
        if method in ("energy", "absolute"):
            return a.energy(ATOMS) if method == "energy" else a.absolute()
        return getattr(a, method)(b)

    values = [(codes.values + 0.05).requires_grad_() for codes in (one, other)]  # away from the kink at 0
    assert gradcheck(answer, values)


def test_sums_of_half_precision_are_float32_and_those_of_float64_stay() -> None:
    codes = codes_with_repeats(7)
    half = SparseCodes(codes.indices, codes.values.half(), codes.residual)
    assert half.energy(ATOMS).dtype == torch.float32
    assert codes.energy(ATOMS).dtype == as_dense(codes).energy(ATOMS).dtype == torch.float64
    assert codes.fires(ATOMS).dtype == as_dense(codes).fires(ATOMS).dtype == torch.float32


def test_the_norm_of_a_pair_that_is_all_but_zero_has_a_finite_gradient() -> None:
    tiny = torch.tensor([[1e-30, 1.0]], requires_grad=True)  # whose square is 0
    zero = torch.zeros(1, 2, requires_grad=True)
    indices, residual = torch.tensor([[0, 1]], dtype=torch.int32), torch.zeros(1, 2)
    for one, other in (
        (SparseCodes(indices, tiny, residual), SparseCodes(indices, zero, residual)),
        (DenseCodes(tiny, residual), DenseCodes(zero, residual)),
    ):
        for gradient in torch.autograd.grad(one.group_norms(other).sum(), (tiny, zero), allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


def test_dense_codes_become_sparse_as_wide_as_the_fullest_row() -> None:
    values = torch.tensor([[0.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]])
    sparse = DenseCodes(values, torch.zeros(3, 2)).to_sparse()
    assert sparse.values.shape == (3, 2)
    assert sparse.indices.dtype == torch.int32
    assert torch.equal(sparse.to_dense(4), values)
    assert DenseCodes(values[:0], torch.zeros(0, 2)).to_sparse().values.shape == (0, 1)
    assert sparse.to_sparse() is sparse


def test_parts_of_different_widths_are_laid_end_to_end() -> None:
    parts = [codes_with_repeats(8, k) for k in (2, 5, 1)]
    whole = concatenate(parts, least_k=3)
    assert whole.values.shape == (3 * ROWS, 5)
    expected = torch.cat([part.to_dense(ATOMS) for part in parts])
    torch.testing.assert_close(whole.to_dense(ATOMS), expected, check_dtype=False)
    assert concatenate([], least_k=3).indices.shape == (0, 3)


def test_a_mask_that_is_none_of_the_atoms_is_refused() -> None:
    codes = SparseCodes(torch.tensor([[0, 4]], dtype=torch.int32), torch.ones(1, 2), torch.zeros(1, 3))
    assert codes.keep(torch.tensor([True, False, False, False, False])).values.tolist() == [[1, 0]]
    assert codes.keep(np.arange(5) == 4).values.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="atom_mask is for 4 atoms, and the codes have atom 4"):
        codes.keep(torch.ones(4, dtype=torch.bool))
    for wrong in (torch.ones(5), torch.ones(1, 5, dtype=torch.bool), [True] * 5, torch.tensor([0, 4])):
        with pytest.raises(ValueError, match="atom_mask must be an"):
            codes.keep(wrong)
