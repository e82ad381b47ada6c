import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from isoenergy import SparseCodes
from isoenergy.alignments import Alignment, Cosine, GroupSparse, IsoEnergy, MaskedCosine
from isoenergy.codes.sparse_codes import Codes, DenseCodes
from isoenergy.objective import masked_cosine_alignment, reconstruction_loss

ATOMS = 6
KINDS = ["sparse", "dense"]


def random_codes(seed: int, rows: int = 50, k: int = 5) -> SparseCodes:
    """Codes in which atoms repeat within rows and recur in the partner."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(ATOMS, (rows, k), generator=generator, dtype=torch.int32)
    values = torch.rand(rows, k, dtype=torch.float64, generator=generator) + 0.01
    return SparseCodes(indices, values, torch.zeros(rows, 3, dtype=torch.float64))


def cosine(image: Tensor, text: Tensor) -> Tensor:
    """Paper 1.4, as its text has it."""
    return -cosine_similarity(image, text, dim=1).mean()


def masked_cosine(image: Tensor, text: Tensor) -> Tensor:
    """Paper 1.4, as its code has it."""
    keep = torch.ones_like(image)
    for codes in (image, text):
        keep.scatter_(1, codes.argmax(1, keepdim=True), 0)
    return cosine(image * keep, text * keep)


def iso_energy(image: Tensor, text: Tensor) -> Tensor:
    one, other = image.square().mean(0), text.square().mean(0)
    return ((one - other).abs() / (one + other + 1e-5)).mean()


def group_sparse(image: Tensor, text: Tensor) -> Tensor:
    return torch.stack([image, text]).norm(dim=0).sum(1).mean()


FORMULAS = {MaskedCosine(): masked_cosine, Cosine(): cosine, IsoEnergy(): iso_energy, GroupSparse(): group_sparse}


def of_kind(kind: str, codes: SparseCodes, values: Tensor) -> Codes:
    sparse = SparseCodes(codes.indices, values, codes.residual)
    return sparse if kind == "sparse" else DenseCodes(sparse.to_dense(ATOMS), codes.residual)


def test_every_alignment_is_tested() -> None:
    assert {type(alignment) for alignment in FORMULAS} == set(Alignment.members().values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alignment", FORMULAS, ids=str)
def test_an_alignment_and_its_gradients_are_those_of_a_formula_on_dense_codes(alignment: Alignment, kind: str) -> None:
    codes = random_codes(0), random_codes(1, k=3)
    values = [each.values.clone().requires_grad_() for each in codes]
    term = alignment(*(of_kind(kind, *both) for both in zip(codes, values, strict=True)), ATOMS)
    others = [each.values.clone().requires_grad_() for each in codes]
    dense = [of_kind("dense", *both).values for both in zip(codes, others, strict=True)]
    expected = FORMULAS[alignment](*dense)
    torch.testing.assert_close(term, expected)
    found, wanted = torch.autograd.grad(term, values), torch.autograd.grad(expected, others)
    for one, other in zip(found, wanted, strict=True):
        assert other.any()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("alignment", FORMULAS, ids=str)
def test_only_what_needs_pairs_depends_on_them(alignment: Alignment) -> None:
    image, text = random_codes(2), random_codes(3)
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(4))
    shuffled = SparseCodes(text.indices[order], text.values[order], text.residual)
    difference = alignment(image, shuffled, ATOMS) - alignment(image, text, ATOMS)
    assert (difference.abs() > 1e-6) == alignment.needs_pairs


@pytest.mark.parametrize("alignment", FORMULAS, ids=str)
def test_an_alignment_is_least_where_both_modalities_have_the_same_codes(alignment: Alignment) -> None:
    image, text = random_codes(5), random_codes(6)
    scale = (image.values.square().sum() / text.values.square().sum()).sqrt()
    other = SparseCodes(text.indices, text.values * scale, text.residual)
    assert alignment(image, image, ATOMS) < alignment(image, other, ATOMS) - 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alignment", FORMULAS, ids=str)
def test_empty_codes_and_lone_atoms_give_no_nan(alignment: Alignment, kind: str) -> None:
    one = SparseCodes(torch.tensor([[2, 2], [1, 0]], dtype=torch.int32), torch.eye(2), torch.zeros(2, 3))
    nothing = SparseCodes(one.indices, torch.zeros(2, 2), one.residual)
    for image, text in ((one, nothing), (nothing, one), (nothing, nothing), (one, one)):
        values = [image.values.clone().requires_grad_(), text.values.clone().requires_grad_()]
        term = alignment(of_kind(kind, image, values[0]), of_kind(kind, text, values[1]), ATOMS)
        term.backward()
        assert term.isfinite()
        assert all(value.grad.isfinite().all() for value in values)


def test_masking_the_only_atom_leaves_no_alignment() -> None:
    codes = SparseCodes(torch.tensor([[2]]), torch.tensor([[1.0]], requires_grad=True), torch.zeros(1, 3))
    loss = masked_cosine_alignment(codes, codes)
    loss.backward()
    assert loss.item() == 0
    assert codes.values.grad.item() == 0


def test_a_negative_coefficient_counts_as_its_square() -> None:
    image, text = random_codes(7), random_codes(8)
    flipped = SparseCodes(image.indices, -image.values, image.residual)
    for alignment in (IsoEnergy(), GroupSparse()):
        torch.testing.assert_close(alignment(flipped, text, ATOMS), alignment(image, text, ATOMS))
    torch.testing.assert_close(Cosine()(flipped, text, ATOMS), -Cosine()(image, text, ATOMS))


def test_reconstruction_loss_is_a_mean_over_entries() -> None:
    residual = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    codes = SparseCodes(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1), residual)
    assert reconstruction_loss(codes).item() == 1.5
    assert reconstruction_loss(DenseCodes(torch.zeros(2, 5), residual)).item() == 1.5


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_the_gradient_of_the_reconstruction_loss_is_that_of_a_mean_square(rows: int) -> None:
    residual = torch.randn(rows, 33, generator=torch.Generator().manual_seed(rows))
    residual[0, 0] = 0
    gradients = []
    for plain in (False, True):
        own = residual.clone().requires_grad_()
        codes = SparseCodes(torch.zeros(rows, 1, dtype=torch.int32), torch.zeros(rows, 1), own)
        loss = own.square().mean() if plain else reconstruction_loss(codes)
        assert loss.item() == pytest.approx(residual.double().square().mean().item(), rel=1e-6)
        (3 * loss).backward()
        gradients.append(own.grad)
    assert torch.equal(*gradients)
