"""What the kernels take of a GPU, read from the code that Triton compiles for it: no GPU is needed.

At most one reduction over all threads a round, no spilled registers up to 16,384 atoms, two rows on a multiprocessor at
8,192: what a GPU would do with more is wait. `python -m tests.benchmarks.compiled_kernels` prints all of it.
"""

import pytest
import torch

from isoenergy.pursuit import PursuitPolicy

pytest.importorskip("triton", reason="no Triton: nothing is shown of its kernels")

from tests.benchmarks.compiled_kernels import Code, code, reverse_code

PAPER = PursuitPolicy()
CLASSICAL = PursuitPolicy("absolute", tolerance=0.5)

of_all_targets = pytest.mark.parametrize(
    "target", [90, pytest.param(80, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)]
)


def require(found: Code, registers: int, programs: int, reductions: int = 1, spilled: int = 0) -> None:
    assert found.reductions == reductions
    assert found.barriers <= 2 * reductions + 1
    assert found.spilled <= spilled
    assert found.registers <= registers
    assert found.shared <= 4096
    assert found.programs >= programs


@of_all_targets
@pytest.mark.parametrize(
    ("size", "programs"),
    [((4096, 512), 4), ((8192, 768), 2), ((16384, 1152), 1), pytest.param((4100, 512), 2, marks=pytest.mark.slow)],
)
def test_a_round_waits_once_and_all_of_a_row_is_in_registers(size: tuple[int, int], programs: int, target: int) -> None:
    found = code(size, PAPER, target)
    require(found, 64, programs)
    require(code(size, PAPER, target, several=True), 64, programs)
    assert found.wide_loads >= 6  # rows of a multiple of four atoms, sixteen bytes a thread at a time


@pytest.mark.slow
@of_all_targets
def test_the_largest_dictionaries_spill_little_and_streamed_ones_nothing(target: int) -> None:
    require(code((32768, 1152), PAPER, target), 64, 1, spilled=64)
    require(code((65536, 1152), PAPER, target), 64, 2, reductions=2)


@pytest.mark.slow
@of_all_targets
def test_other_rules_and_float64_spill_nothing(target: int) -> None:
    require(code((4096, 512), CLASSICAL, target), 64, 4, reductions=3)  # the sign and the norm are one each
    require(code((4096, 512), PAPER, target, torch.float64), 96, 2)


@of_all_targets
@pytest.mark.parametrize("dim", [512, pytest.param(1152, marks=pytest.mark.slow)])
def test_the_reverse_pass_waits_once_a_round(dim: int, target: int) -> None:
    adds, writes = (reverse_code(dim, in_order, target) for in_order in (False, True))
    assert adds.reductions == writes.reductions == 1
    assert max(adds.registers, writes.registers) <= 64
    assert adds.spilled == 0
    assert writes.spilled <= 8
