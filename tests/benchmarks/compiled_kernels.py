"""What Triton makes of the kernels for GPUs that are not here: `python -m tests.benchmarks.compiled_kernels`.

A kernel is compiled for a target as its launch would compile it, and the code is read by the tools of Triton's wheel.
All that is not of Triton's documented interface is in this module.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from isoenergy.pursuit import PursuitPolicy
from isoenergy.pursuit.triton_kernels import Kernel, reverse_kernel, rounds_kernel

TARGETS = (80, 90, 100)
_TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
_REGISTERS = 65536  # of a multiprocessor, on all three targets
_THREADS = 2048
_GRANULE = 8  # registers a thread are given out in these
_DIVISIBLE = [["tt.divisibility", 16]]  # what a launch finds of tensors that begin where torch's memory does


@dataclass(frozen=True)
class Code:
    """What a kernel takes of a multiprocessor."""

    registers: int
    """A thread."""
    spilled: int
    """Bytes a thread of local memory."""
    shared: int
    """Bytes a program."""
    reductions: int
    """Over all of a program's threads, in the whole kernel."""
    barriers: int
    """In the whole kernel."""
    wide_loads: int
    """Instructions that load 16 bytes a thread."""
    programs: int
    """That fit in a multiprocessor at once, as far as registers and threads go."""


@cache
def code(
    size: tuple[int, int],
    policy: PursuitPolicy,
    target: int,
    dtype: torch.dtype = torch.float32,
    several: bool = False,
) -> Code:
    """Return what the rounds compile to for `size`, (atoms, dim); several: for rows of several dictionaries."""
    atoms, dim = size
    return compile_for(rounds_kernel(atoms, dim, atoms, policy, several=several), target, dtype)


@cache
def reverse_code(dim: int, in_order: bool, target: int) -> Code:
    """Return what the reverse pass compiles to."""
    return compile_for(reverse_kernel(dim, in_order), target, torch.float32)


def compile_for(kernel: Kernel, target: int, dtype: torch.dtype) -> Code:
    """Compile a kernel for compute capability `target` / 10."""
    names = kernel.function.arg_names
    number = {torch.float32: "*fp32", torch.float64: "*fp64"}[dtype]
    types = {name: number for name in names} | {"indices": "*i32", "k": "i32", "rows": "i32"}
    signature = {name: "constexpr" if name in kernel.constants else types[name] for name in names}
    attributes = {(place,): _DIVISIBLE for place, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel.function, signature, kernel.constants, attributes)
    options = {"num_warps": kernel.warps, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = re.search(r"REG:(\d+) STACK:(\d+)", _tool("cuobjdump", "-res-usage", file.name))
        instructions = _tool("nvdisasm", "-c", file.name)
    assert usage is not None
    registers, threads = int(usage[1]), 32 * kernel.warps
    room = _REGISTERS // (-(-registers // _GRANULE) * _GRANULE * threads)
    return Code(
        registers=registers,
        spilled=int(usage[2]),
        shared=compiled.metadata.shared,
        reductions=compiled.asm["ttgir"].count('"tt.reduce"'),
        barriers=len(re.findall(r"\bBAR\.", instructions)),
        wide_loads=len(re.findall(r"\bLDG\S*\.128", instructions)),
        programs=min(room, _THREADS // threads),
    )


def _tool(name: str, *arguments: str) -> str:
    done = subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def all_codes() -> Iterator[tuple[str, int, Code]]:
    """Yield every kernel that the tests look at, by name and target."""
    paper, classical = PursuitPolicy(), PursuitPolicy("absolute", tolerance=0.5)
    for target in TARGETS:
        for size in ((4096, 512), (4100, 512), (8192, 768), (16384, 1152), (32768, 1152), (65536, 1152)):
            yield f"rounds, {size[0]:,} atoms, dim {size[1]:,}", target, code(size, paper, target)
        yield "rounds, 4,096 atoms, several", target, code((4096, 512), paper, target, several=True)
        yield "rounds, 4,096 atoms, absolute, tolerance", target, code((4096, 512), classical, target)
        yield "rounds, 4,096 atoms, float64", target, code((4096, 512), paper, target, torch.float64)
        for dim in (512, 768, 1152):
            yield f"reverse, dim {dim:,}", target, reverse_code(dim, False, target)
        yield "reverse, dim 512, in order", target, reverse_code(512, True, target)


def main() -> None:
    """Print a table."""
    names = ("kernel", "sm", *Code.__dataclass_fields__)
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    for name, target, found in all_codes():
        print("| " + " | ".join(map(str, (name, target, *asdict(found).values()))) + " |", flush=True)


if __name__ == "__main__":
    main()
