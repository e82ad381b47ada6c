"""The CUDA form: one program a row runs all rounds, with the row of correlations in registers where it fits.

Up to `ON_CHIP_ATOMS` atoms a round reads one row of the Gram matrix and nothing else of its size, and its warps wait
for each other once, to agree on the atom; beyond, the row of correlations stays in global memory (a program's row fits
the second-level cache) and a round passes over it once. Sizes are constants of a kernel: Triton compiles it anew for
each dictionary's (seconds, kept on disk), reads four numbers at a time wherever rows are multiples of four, and asks
nothing about a row's end where there is none. The tests run these kernels in Triton's interpreter, on a CPU, and read
the code compiled for sm_80, sm_90 and sm_100; the marker `gpu` runs them on a card.
"""

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from isoenergy.pursuit.gram import correlations
from isoenergy.pursuit.policy import PursuitPolicy

ON_CHIP_ATOMS = 32768
_STREAMED_TILE = 4096
_BLOCK_BYTES = 2**31  # of correlations at a time
_CONTRIBUTION_BYTES = 2**30  # to the dictionary's gradient at a time, where they are kept to be sorted

_SELECTION = {"signed": 0, "non-negative": 1, "absolute": 2}


@dataclass(frozen=True)
class Kernel:
    """A kernel with all that is compiled into it; called with a number of programs and its tensors."""

    function: Any
    constants: dict[str, Any]
    warps: int

    def __call__(self, programs: int, *arguments: Tensor | int) -> None:
        """Launch on the device of the first tensor; a product and a sum are one rounding, whatever Triton's default."""
        with torch.cuda.device_of(arguments[0]):
            self.function[(programs,)](*arguments, **self.constants, num_warps=self.warps, enable_fp_fusion=True)


def rounds_kernel(
    atoms: int,
    dim: int,
    gram_stride: int,
    policy: PursuitPolicy,
    on_chip_atoms: int = ON_CHIP_ATOMS,
    several: bool = False,
) -> Kernel:
    """Return the kernel that runs all rounds: 16 correlations a thread, or 8 of a tile at a time.

    several: rows of several dictionaries.
    """
    on_chip = atoms <= on_chip_atoms
    tile = triton.next_power_of_2(atoms) if on_chip else min(_STREAMED_TILE, triton.next_power_of_2(on_chip_atoms))
    constants = {
        "atoms": atoms,
        "dim": dim,
        "gram_stride": gram_stride,
        "ATOMS": tile,
        "DIM": triton.next_power_of_2(dim),
        "SELECTION": _SELECTION[policy.selection],
        "STOPS": policy.stops,
        "TOLERANCE": -1.0 if policy.tolerance is None else policy.tolerance,
        "SEVERAL": several,
    }
    function, a_warp = (_rounds_on_chip, 512) if on_chip else (_rounds_streamed, 256)
    return Kernel(function, constants, min(32, max(1, tile // a_warp)))


def reverse_kernel(dim: int, in_order: bool) -> Kernel:
    """Return the kernel of the reverse pass: it adds to the dictionary's gradient, or writes what is to be added."""
    width = triton.next_power_of_2(dim)
    return Kernel(_reverse_rounds, {"dim": dim, "DIM": width, "IN_ORDER": in_order}, min(8, max(1, width // 256)))


def pursue(
    x: Tensor,
    dictionary: Tensor,
    k: int,
    policy: PursuitPolicy,
    gram: Tensor,
    on_chip_atoms: int = ON_CHIP_ATOMS,
    dictionaries: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments: indices (int32, -1 where a row had stopped), values and residual.

    dictionaries: of how many, one after the other, `dictionary` and `gram`, `(dictionaries · atoms, atoms)`, are; the
    first rows of x, as many as there are of each, go to the first. The indices count through all.
    """
    (batch, dim), atoms = x.shape, len(dictionary) // dictionaries
    dictionary = dictionary.contiguous()
    gram = gram if gram.stride(1) == 1 else gram.contiguous()  # the kernels read rows of it
    indices = torch.empty(batch, k, dtype=torch.int32, device=x.device)
    values, residual = x.new_empty(batch, k), x.clone(memory_format=torch.contiguous_format)
    kernel = rounds_kernel(atoms, dim, gram.stride(0), policy, on_chip_atoms, dictionaries > 1)
    each = batch // dictionaries
    block = max(2, _BLOCK_BYTES // (atoms * x.element_size())) if dictionaries == 1 else max(1, batch)
    for low in range(0, batch, block):
        rows = slice(low, min(low + block, batch))
        if dictionaries == 1:
            scores = correlations(x[rows], dictionary)
        else:
            by_dictionary = x.reshape(dictionaries, each, dim), dictionary.view(dictionaries, atoms, dim).mT
            scores = torch.bmm(*by_dictionary).flatten(0, 1)
        kernel(len(scores), scores, gram, dictionary, indices[rows], values[rows], residual[rows], k, each)
    return indices, values, residual


def reverse(
    dictionary: Tensor,
    indices: Tensor,
    values: Tensor,
    residual: Tensor,
    grad_values: Tensor,
    grad_residual: Tensor,
    in_order: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the dictionary; see `isoenergy.pursuit.reverse`.

    in_order: the dictionary's gradient is summed by atomics, in no fixed order, or, in order, from contributions that
    torch sorts by atom: the same bits each time, for a pass over `(batch, k, dim)` numbers more.
    """
    (batch, dim), k = residual.shape, indices.shape[1]
    grad_x = grad_residual.clone(memory_format=torch.contiguous_format)
    grad_values = grad_values.contiguous()
    grad_dictionary = torch.zeros_like(dictionary)
    kernel = reverse_kernel(dim, in_order)
    block = max(1, _CONTRIBUTION_BYTES // (k * dim * residual.element_size())) if in_order else max(1, batch)
    for low in range(0, batch, block):
        rows = slice(low, min(low + block, batch))
        chosen = indices[rows]
        sums = residual.new_empty(len(chosen) * k, dim) if in_order else grad_dictionary
        kernel(len(chosen), dictionary, chosen, values[rows], residual[rows], grad_values[rows], grad_x[rows], sums, k)
        if in_order:
            grad_dictionary.index_put_((chosen.flatten().clamp_min(0),), sums, accumulate=True)
    return grad_x, grad_dictionary


@triton.jit
def _goes_on(  # type: ignore[no-untyped-def]  # Triton finds the types
    value, rest, SELECTION: tl.constexpr, TOLERANCE: tl.constexpr
):
    """TOLERANCE is a constant: as an argument it would be rounded to float32, whatever the rows are."""
    goes_on = value == value
    if TOLERANCE >= 0:
        goes_on = tl.sum(rest * rest, 0) > TOLERANCE * TOLERANCE
    if SELECTION == 1:
        goes_on = goes_on & (value > 0)
    return goes_on


@triton.jit
def _rounds_on_chip(  # type: ignore[no-untyped-def]  # Triton finds the types
    scores,
    gram,
    dictionary,
    indices,
    values,
    residual,
    k,
    rows,
    atoms: tl.constexpr,
    dim: tl.constexpr,
    gram_stride: tl.constexpr,
    ATOMS: tl.constexpr,
    DIM: tl.constexpr,
    SELECTION: tl.constexpr,
    STOPS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SEVERAL: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    atom, column = tl.arange(0, ATOMS), tl.arange(0, DIM)
    is_atom, is_column = atom < atoms, column < dim
    score = tl.load(scores + row * atoms + atom, is_atom, other=0)
    rest = tl.load(residual + row * dim + column, is_column, other=0)
    active = row >= 0
    first = row * 0
    if SEVERAL:  # of the row's dictionary
        first = (tl.program_id(0) // rows).to(tl.int64) * atoms
    for step in range(k):
        rank = tl.abs(score) if SELECTION == 2 else score
        if atoms < ATOMS:
            rank = tl.where(is_atom, rank, float("-inf"))
        value, best = tl.max(rank, 0, return_indices=True)  # the lowest of equals
        best = tl.minimum(best, atoms - 1)  # after an overflow to NaN it may be none
        if SELECTION == 2:
            value = tl.sum(tl.where(atom == best, score, 0), 0)
        if STOPS:
            active = active & _goes_on(value, rest, SELECTION, TOLERANCE)
            value = tl.where(active, value, 0)
        chosen = first + best
        tl.store(indices + row * k + step, tl.where(active, chosen, -1))
        tl.store(values + row * k + step, value)
        rest -= value * tl.load(dictionary + chosen * dim + column, is_column, other=0)
        score -= value * tl.load(gram + chosen * gram_stride + atom, is_atom, other=0)
    tl.store(residual + row * dim + column, rest, is_column)


@triton.jit
def _rounds_streamed(  # type: ignore[no-untyped-def]  # Triton finds the types
    scores,
    gram,
    dictionary,
    indices,
    values,
    residual,
    k,
    rows,
    atoms: tl.constexpr,
    dim: tl.constexpr,
    gram_stride: tl.constexpr,
    ATOMS: tl.constexpr,
    DIM: tl.constexpr,
    SELECTION: tl.constexpr,
    STOPS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    SEVERAL: tl.constexpr,
):
    """Each lane keeps the best of the atoms that it has seen; the lanes are compared once a round."""
    row = tl.program_id(0).to(tl.int64)
    place, column = tl.arange(0, ATOMS), tl.arange(0, DIM)
    is_column = column < dim
    rest = tl.load(residual + row * dim + column, is_column, other=0)
    active = row >= 0
    first = row * 0
    if SEVERAL:  # of the row's dictionary
        first = (tl.program_id(0) // rows).to(tl.int64) * atoms
    chosen = first
    value = tl.full((), 0, rest.dtype)
    for step in range(k):
        top = tl.full((ATOMS,), float("-inf"), rest.dtype)
        top_score = tl.zeros((ATOMS,), rest.dtype)
        top_atom = place
        for start in range(0, atoms, ATOMS):
            atom = start + place
            is_atom = atom < atoms
            score = tl.load(scores + row * atoms + atom, is_atom, other=0)
            if step > 0:
                score -= value * tl.load(gram + chosen * gram_stride + atom, is_atom, other=0)
                tl.store(scores + row * atoms + atom, score, is_atom)
            rank = tl.where(is_atom, tl.abs(score) if SELECTION == 2 else score, float("-inf"))
            better = rank > top
            top = tl.where(better, rank, top)
            top_atom = tl.where(better, atom, top_atom)
            if SELECTION == 2:
                top_score = tl.where(better, score, top_score)
        value = tl.max(top, 0)
        best = tl.min(tl.where(top == value, top_atom, atoms - 1), 0)
        if SELECTION == 2:
            value = tl.sum(tl.where(top_atom == best, top_score, 0), 0)
        if STOPS:
            active = active & _goes_on(value, rest, SELECTION, TOLERANCE)
            value = tl.where(active, value, 0)
        chosen = first + best
        tl.store(indices + row * k + step, tl.where(active, chosen, -1))
        tl.store(values + row * k + step, value)
        rest -= value * tl.load(dictionary + chosen * dim + column, is_column, other=0)
    tl.store(residual + row * dim + column, rest, is_column)


@triton.jit
def _reverse_rounds(  # type: ignore[no-untyped-def]  # Triton finds the types
    dictionary,
    indices,
    values,
    residual,
    grad_values,
    grad_x,
    sums,
    k,
    dim: tl.constexpr,
    DIM: tl.constexpr,
    IN_ORDER: tl.constexpr,
):
    """Add each round's contribution to its atom's row of `sums`, `(atoms, dim)`, or write it to `(batch, k, dim)`."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, DIM)
    is_column = column < dim
    restored = tl.load(residual + row * dim + column, is_column, other=0)
    grad = tl.load(grad_x + row * dim + column, is_column, other=0)
    for back in range(k):
        entry = row * k + (k - 1 - back)
        index = tl.load(indices + entry).to(tl.int64)
        taken = index >= 0
        index = tl.maximum(index, 0)
        atom = tl.load(dictionary + index * dim + column, is_column, other=0)
        value = tl.load(values + entry)
        weight = tl.load(grad_values + entry) - tl.sum(grad * atom, 0)
        weight = tl.where(taken, weight, 0)
        restored += value * atom
        contribution = weight * restored - value * grad
        if IN_ORDER:
            tl.store(sums + entry * dim + column, contribution, is_column)
        else:
            place = sums + index * dim + column
            tl.atomic_add(place, contribution, column < tl.where(taken, dim, 0), sem="relaxed")
        grad += weight * atom
    tl.store(grad_x + row * dim + column, grad, is_column)
