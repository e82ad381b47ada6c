import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from isoenergy import SparseCodes
from isoenergy.objective import cosine_alignment, masked_cosine_alignment, reconstruction_loss, revival_loss

ATOMS = 6


def random_codes(seed: int, rows: int = 50, k: int = 5) -> SparseCodes:
    """Codes in which atoms repeat within rows and recur in the partner."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(ATOMS, (rows, k), generator=generator)
    values = torch.rand(rows, k, dtype=torch.float64, generator=generator) + 0.01
    return SparseCodes(indices, values, torch.zeros(rows, 3, dtype=torch.float64))


def dense_masked(image: Tensor, text: Tensor) -> Tensor:
    """The alignment of the paper's code, on dense codes."""
    keep = torch.ones_like(image)
    for codes in (image, text):
        keep.scatter_(1, codes.argmax(1, keepdim=True), 0)
    return -cosine_similarity(image * keep, text * keep, dim=1).mean()


def test_cosine_alignment_is_that_of_dense_codes() -> None:
    image, text = random_codes(0), random_codes(1)
    expected = -cosine_similarity(image.to_dense(ATOMS), text.to_dense(ATOMS), dim=1).mean()
    torch.testing.assert_close(cosine_alignment(image, text), expected)


def test_masked_alignment_is_that_of_dense_codes() -> None:
    image, text = random_codes(2), random_codes(3)
    expected = dense_masked(image.to_dense(ATOMS), text.to_dense(ATOMS))
    torch.testing.assert_close(masked_cosine_alignment(image, text), expected)


@pytest.mark.parametrize("alignment", [cosine_alignment, masked_cosine_alignment])
def test_gradients_agree_with_autograd_on_dense_codes(alignment) -> None:
    image, text = random_codes(4), random_codes(5)
    sparse = image.values.clone().requires_grad_()
    alignment(SparseCodes(image.indices, sparse, image.residual), text).backward()
    other = image.values.clone().requires_grad_()
    dense = SparseCodes(image.indices, other, image.residual).to_dense(ATOMS)
    if alignment is masked_cosine_alignment:
        dense_masked(dense, text.to_dense(ATOMS)).backward()
    else:
        (-cosine_similarity(dense, text.to_dense(ATOMS), dim=1).mean()).backward()
    torch.testing.assert_close(sparse.grad, other.grad)


def test_masking_the_only_atom_leaves_no_alignment_and_no_nan() -> None:
    codes = SparseCodes(torch.tensor([[2]]), torch.tensor([[1.0]], requires_grad=True), torch.zeros(1, 3))
    loss = masked_cosine_alignment(codes, codes)
    loss.backward()
    assert loss.item() == 0
    assert not codes.values.grad.isnan().any()


def test_reconstruction_loss_is_a_mean_over_entries() -> None:
    codes = SparseCodes(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    assert reconstruction_loss(codes).item() == 1.5


def test_revival_pulls_each_rows_nearest_dead_atom_towards_its_residual_and_nothing_else() -> None:
    residual = torch.tensor([[3.0, 0.1, 0.0], [0.0, 2.0, 0.2]], requires_grad=True)
    codes = SparseCodes(torch.zeros(2, 1, dtype=torch.int32), torch.zeros(2, 1), residual)
    dead = torch.nn.functional.normalize(torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [-1.0, 0, 0]]), dim=1)
    before = dead @ residual.detach().T
    dead.requires_grad_()
    loss = revival_loss(codes, dead)
    loss.backward()
    assert residual.grad is None
    assert not dead.grad[2].any()
    moved = torch.nn.functional.normalize(dead.detach() - 0.1 * dead.grad, dim=1)
    after = moved @ residual.detach().T
    assert after[0, 0] > before[0, 0]
    assert after[1, 1] > before[1, 1]


def test_without_dead_atoms_there_is_nothing_to_revive() -> None:
    codes = random_codes(6)
    assert revival_loss(codes, torch.zeros(0, 3, dtype=torch.float64)).item() == 0
