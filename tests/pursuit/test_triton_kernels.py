"""The Triton kernels, against the oracle: in Triton's interpreter everywhere, on a card under the marker `gpu`."""

import subprocess
import sys

import pytest
import torch

from isoenergy.pursuit import PursuitPolicy, gram_matrix, matching_pursuit, oracle

Shapes = list[tuple[int, int, int, int]]

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


def check_all(device: str, shapes: Shapes = SHAPES) -> None:
    for shape in shapes:
        for policy in POLICIES:
            for on_chip_atoms in (1024, 16):  # the second forces the streamed kernel
                check(device, on_chip_atoms, shape, policy)


@pytest.mark.parametrize("shapes", [SMALLEST, pytest.param(SHAPES, marks=pytest.mark.slow)], ids=["smallest", "all"])
def test_the_kernels_equal_the_oracle_in_the_interpreter(shapes: Shapes) -> None:
    """In a process of its own: Triton looks at TRITON_INTERPRET when a kernel is defined."""
    program = f"from tests.pursuit.test_triton_kernels import check_all; check_all('cpu', {shapes}); print('equal')"
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.environ['TRITON_INTERPRET'] = '1'; {program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_kernels_equal_the_oracle_on_a_gpu() -> None:
    check_all("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
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
