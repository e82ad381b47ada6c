"""The Triton kernels, against the oracle: in Triton's interpreter everywhere, on a card under the marker `gpu`."""

import pytest
import torch

from isoenergy.pursuit import PursuitPolicy, gram_matrix, matching_pursuit, oracle
from isoenergy.pursuit.together import pursue_together
from tests.interpreted import require_passes_in_interpreter

NEAR = {"rtol": 1e-4, "atol": 1e-5}
Shapes = list[tuple[int, int, int, int]]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing is shown of one")
SHAPES = [(5, 12, 40, 4), (1, 7, 65, 3), (3, 16, 33, 6), (0, 8, 16, 2)]
SMALLEST = [(2, 5, 18, 3)]
POLICIES = [PursuitPolicy(), PursuitPolicy("absolute", tolerance=0.5), PursuitPolicy("non-negative")]


def check(device: str, on_chip_atoms: int, shape: tuple[int, int, int, int], policy: PursuitPolicy) -> None:
    from isoenergy.pursuit import triton_kernels

    batch, dim, atoms, k = shape
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, dim, generator=generator, dtype=torch.float64).to(device)
    dictionary = torch.randn(atoms, dim, generator=generator, dtype=torch.float64).to(device) / dim**0.5
    dictionary[atoms // 2] = dictionary[0]
    x.requires_grad_()
    dictionary.requires_grad_()
    expected = oracle.pursue(x, dictionary, k, policy)
    plain = (x.detach(), dictionary.detach())
    codes = triton_kernels.pursue(*plain, k, policy, gram_matrix(dictionary), on_chip_atoms)
    assert torch.equal(codes[0], expected[0])
    torch.testing.assert_close(codes[1:], expected[1:], rtol=1e-10, atol=1e-10)

    by_value = torch.randn(batch, k, generator=generator, dtype=torch.float64).to(device)
    by_residual = torch.randn(batch, dim, generator=generator, dtype=torch.float64).to(device)
    ((expected[1] * by_value).sum() + (expected[2] * by_residual).sum()).backward()
    gradients = triton_kernels.reverse(dictionary.detach(), *codes, by_value, by_residual)
    torch.testing.assert_close(gradients, (x.grad, dictionary.grad), rtol=1e-10, atol=1e-10)
    in_order = triton_kernels.reverse(dictionary.detach(), *codes, by_value, by_residual, in_order=True)
    torch.testing.assert_close(in_order, (x.grad, dictionary.grad), rtol=1e-10, atol=1e-10)


def check_all(device: str, shapes: Shapes = SHAPES) -> None:
    for shape in shapes:
        for policy in POLICIES:
            for on_chip_atoms in (1024, 16):  # the second forces the streamed kernel
                check(device, on_chip_atoms, shape, policy)


def check_layouts(device: str) -> None:
    """However a Gram matrix lies in memory, the codes are its; the tolerance is that of float64; stops add nothing."""
    from isoenergy.pursuit import triton_kernels

    generator = torch.Generator().manual_seed(1)
    x, dictionary = (torch.randn(rows, 6, generator=generator, dtype=torch.float64).to(device) for rows in (3, 20))
    gram, policy = gram_matrix(dictionary), PursuitPolicy()
    expected = oracle.pursue(x, dictionary, 3, policy)
    apart = gram.new_empty(20, 40)[:, ::2].copy_(gram)
    for its in (gram.contiguous(), gram.T.contiguous().T, apart):
        codes = triton_kernels.pursue(x, dictionary.T.contiguous().T, 3, policy, its)
        assert torch.equal(codes[0], expected[0])
    axes = torch.eye(4, dtype=torch.float64, device=device)
    left = 0.7  # as float32 it is smaller, and the row would go on
    row = torch.tensor([[3.0, left, 0.0, 0.0]], dtype=torch.float64, device=device)
    codes = triton_kernels.pursue(row, axes, 3, PursuitPolicy(tolerance=left), axes)
    assert codes[0].tolist() == [[0, -1, -1]]
    nothing = torch.full_like(codes[1], torch.nan)
    nothing[:, 0] = 1.0
    grad_dictionary = triton_kernels.reverse(axes, *codes, nothing, torch.zeros_like(row))[1]
    assert grad_dictionary.isfinite().all()


def check_wide(device: str) -> None:
    """Rows for eight warps and more, on chip, streamed and in blocks: float32 codes as exact as the oracle's own."""
    from isoenergy.pursuit import triton_kernels

    batch, dim, atoms, k = 4, 24, 4100, 4
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(torch.randn(batch, dim, generator=generator, dtype=torch.float64), dim=1)
    atoms_ = torch.nn.functional.normalize(torch.randn(atoms, dim, generator=generator, dtype=torch.float64), dim=1)
    atoms_[atoms - 1] = atoms_[0]
    by_value = torch.randn(batch, k, generator=generator, dtype=torch.float64).to(device)
    by_residual = torch.randn(batch, dim, generator=generator, dtype=torch.float64).to(device)
    x, dictionary = rows.to(device).requires_grad_(), atoms_.to(device).requires_grad_()
    exact = oracle.pursue(x, dictionary, k, PursuitPolicy())
    ((exact[1] * by_value).sum() + (exact[2] * by_residual).sum()).backward()
    single = [part.detach().float() for part in (x, dictionary, by_value, by_residual)]
    gram, whole = gram_matrix(single[1]), triton_kernels._BLOCK_BYTES
    for on_chip_atoms, block in ((8192, whole), (4096, whole), (8192, 3 * 4 * atoms)):
        triton_kernels._BLOCK_BYTES = block
        codes = triton_kernels.pursue(*single[:2], k, PursuitPolicy(), gram, on_chip_atoms)
        assert torch.equal(codes[0], exact[0])
        torch.testing.assert_close(codes[1].double(), exact[1].detach(), rtol=1e-5, atol=1e-6)
        for in_order in (False, True):
            gradients = triton_kernels.reverse(single[1], *codes, *single[2:], in_order=in_order)
            torch.testing.assert_close(tuple(part.double() for part in gradients), (x.grad, dictionary.grad), **NEAR)
    triton_kernels._BLOCK_BYTES = whole


def check_public(device: str) -> None:
    """The public function with this form, forward and backward; a gradient in order is the same bits again."""
    generator = torch.Generator().manual_seed(2)
    x, dictionary = (torch.randn(rows, 8, generator=generator, dtype=torch.float64).to(device) for rows in (6, 20))
    x.requires_grad_()
    dictionary.requires_grad_()
    gradients = []
    for backend, in_order in (("oracle", False), ("triton", False), ("triton", True), ("triton", True)):
        torch.use_deterministic_algorithms(in_order)
        codes = matching_pursuit(x, dictionary, 3, backend=backend)
        loss = codes.residual.square().mean() + codes.values.sum()
        gradients.append(torch.autograd.grad(loss, (x, dictionary)))
    torch.use_deterministic_algorithms(False)
    for found in gradients[1:]:
        torch.testing.assert_close(found, gradients[0], rtol=1e-10, atol=1e-12)
    assert torch.equal(gradients[2][1], gradients[3][1])


def check_together(device: str) -> None:
    """Several dictionaries in one launch: the codes and gradients that each has alone, with whatever rules."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(4, 7, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    dictionaries = [torch.randn(18, 7, generator=generator, dtype=torch.float64).to(device) for _ in range(3)]
    for dictionary in dictionaries:
        dictionary.requires_grad_()
    for policy in (*POLICIES, PursuitPolicy(repeats="end")):
        together = pursue_together(x, dictionaries, 3, policy)
        alone = [matching_pursuit(x, dictionary, 3, policy=policy, backend="oracle") for dictionary in dictionaries]
        gradients = []
        for found in (together, alone):
            loss = torch.stack(
                [(n + 1) * its.residual.square().sum() + its.values.sum() for n, its in enumerate(found)]
            )
            gradients.append(torch.autograd.grad(loss.sum(), (x, *dictionaries)))
        for mine, exact in zip(together, alone, strict=True):
            assert torch.equal(mine.indices, exact.indices)
            torch.testing.assert_close((mine.values, mine.residual), (exact.values, exact.residual))
        torch.testing.assert_close(*gradients)


QUICK = f"check_all('cpu', {SMALLEST}); check_layouts('cpu'); check_public('cpu'); check_together('cpu')"
WHOLE = f"check_all('cpu', {SHAPES}); check_wide('cpu')"


@pytest.mark.parametrize("checks", [QUICK, pytest.param(WHOLE, marks=pytest.mark.slow)], ids=["quick", "whole"])
def test_the_kernels_equal_the_oracle_in_the_interpreter(checks: str) -> None:
    require_passes_in_interpreter(f"from tests.pursuit.test_triton_kernels import *; {checks}")


@pytest.mark.gpu
@needs_gpu
def test_the_kernels_equal_the_oracle_on_a_gpu() -> None:
    check_all("cuda")
    check_layouts("cuda")
    check_wide("cuda")
    check_public("cuda")
    check_together("cuda")


@pytest.mark.gpu
@needs_gpu
def test_the_gpu_form_is_exact_in_float32_whatever_tf32_is_set_to() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(512, 256, generator=generator), dim=1)
    dictionary = torch.nn.functional.normalize(torch.randn(2048, 256, generator=generator), dim=1)
    exact = matching_pursuit(x.double(), dictionary.double(), 16, backend="oracle")
    codes = matching_pursuit(x.cuda(), dictionary.cuda(), 16, backend="triton")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        again = matching_pursuit(x.cuda(), dictionary.cuda(), 16, backend="triton")
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(codes.indices, again.indices)
    assert (codes.indices.cpu() == exact.indices).all(dim=1).float().mean() > 0.99
