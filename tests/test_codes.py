import torch

from isoenergy import SparseCodes

CODES = SparseCodes(
    torch.tensor([[3, 1, 3], [0, 0, 0], [2, 1, 0]]),
    torch.tensor([[1.0, 2.0, 0.5], [1.0, -1.0, 2.0], [0.0, 3.0, 1.0]]),
    torch.zeros(3, 2),
)


def test_to_dense_adds_repeated_atoms() -> None:
    expected = torch.tensor([[0, 2, 0, 1.5], [2, 0, 0, 0], [1, 3, 0, 0]])
    assert torch.equal(CODES.to_dense(4), expected)


def test_merged_values_stand_at_the_first_place() -> None:
    assert torch.equal(CODES.merged_values(), torch.tensor([[1.5, 2, 0], [2, 0, 0], [0, 3, 1]]))


def test_keep_zeroes_the_other_atoms() -> None:
    mask = torch.tensor([False, True, False, False])
    assert torch.equal(CODES.keep(mask).to_dense(4), CODES.to_dense(4) * mask)


def test_split_parts_rows() -> None:
    first, rest = CODES.split(1)
    assert len(first) == 1
    assert torch.equal(rest.values, CODES.values[1:])


def test_an_atom_is_used_if_a_row_gives_it_a_coefficient() -> None:
    codes = SparseCodes(
        torch.tensor([[0, 3, 3], [3, 0, 0]]), torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]), torch.zeros(2, 2)
    )
    assert codes.used_atoms(5).tolist() == [0, 0, 0, 1, 0]
