"""The CUDA form: one program a row runs all rounds, with the row of correlations in registers where it fits.

Up to `ON_CHIP_ATOMS` atoms a round reads one row of the Gram matrix and nothing else of its size; beyond, the row of
correlations stays in global memory (a program's row fits the second-level cache) and a round passes over it once.
The tests run these kernels in Triton's interpreter, on a CPU; the marker `gpu` runs them on a card.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from isoenergy.pursuit.gram import correlations
from isoenergy.pursuit.policy import PursuitPolicy

ON_CHIP_ATOMS = 32768
_STREAMED_TILE = 8192
_BLOCK_BYTES = 2**31  # of correlations at a time

_SELECTION = {"signed": 0, "non-negative": 1, "absolute": 2}


def pursue(
    x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor, on_chip_atoms: int = ON_CHIP_ATOMS
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments: indices (int32, -1 where a row had stopped), values and residual."""
    (batch, dim), atoms = x.shape, len(dictionary)
    dictionary = dictionary.contiguous()
    gram = gram if gram.stride(1) == 1 else gram.contiguous()  # the kernels read rows of it
    indices = torch.empty(batch, k, dtype=torch.int32, device=x.device)
    values, residual = x.new_empty(batch, k), x.clone(memory_format=torch.contiguous_format)
    on_chip = atoms <= on_chip_atoms
    tile = triton.next_power_of_2(atoms) if on_chip else min(_STREAMED_TILE, triton.next_power_of_2(on_chip_atoms))
    kernel = _rounds_on_chip if on_chip else _rounds_streamed
    block = max(2, _BLOCK_BYTES // (atoms * x.element_size()))
    for low in range(0, batch, block):
        rows = slice(low, min(low + block, batch))
        scores = correlations(x[rows], dictionary)
        with torch.cuda.device_of(x):
            kernel[(len(scores),)](
                scores,
                gram,
                dictionary,
                indices[rows],
                values[rows],
                residual[rows],
                atoms,
                dim,
                k,
                gram.stride(0),
                ATOMS=tile,
                DIM=triton.next_power_of_2(dim),
                SELECTION=_SELECTION[policy.selection],
                STOPS=policy.stops,
                TOLERANCE=-1.0 if policy.tolerance is None else policy.tolerance,
                num_warps=min(32, max(1, tile // 512)),
            )
    return indices, values, residual


def reverse(
    dictionary: Tensor, indices: Tensor, values: Tensor, residual: Tensor, grad_values: Tensor, grad_residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the dictionary; see `isoenergy.pursuit.reverse`.

    The dictionary's is summed by atomics, in no fixed order: `torch.use_deterministic_algorithms(True)` has
    `autograd` take the plain form instead.
    """
    (batch, dim), k = residual.shape, indices.shape[1]
    grad_x = grad_residual.clone(memory_format=torch.contiguous_format)
    grad_dictionary = torch.zeros_like(dictionary)
    if batch:
        width = triton.next_power_of_2(dim)
        with torch.cuda.device_of(residual):
            _reverse_rounds[(batch,)](
                dictionary,
                indices,
                values,
                residual,
                grad_values.contiguous(),
                grad_x,
                grad_dictionary,
                dim,
                k,
                DIM=width,
                num_warps=min(8, max(1, width // 256)),
            )
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
    atoms,
    dim,
    k,
    gram_stride,
    ATOMS: tl.constexpr,
    DIM: tl.constexpr,
    SELECTION: tl.constexpr,
    STOPS: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    atom, column = tl.arange(0, ATOMS), tl.arange(0, DIM)
    is_atom, is_column = atom < atoms, column < dim
    score = tl.load(scores + row * atoms + atom, is_atom, other=0)
    rest = tl.load(residual + row * dim + column, is_column, other=0)
    active = row >= 0
    for step in range(k):
        rank = tl.where(is_atom, tl.abs(score) if SELECTION == 2 else score, float("-inf"))
        best = tl.min(tl.where(rank == tl.max(rank, 0), atom, ATOMS), 0)
        best = tl.minimum(best, atoms - 1)  # after an overflow to NaN nothing equals the maximum
        value = tl.sum(tl.where(atom == best, score, 0), 0)
        if STOPS:
            active = active & _goes_on(value, rest, SELECTION, TOLERANCE)
            value = tl.where(active, value, 0)
        tl.store(indices + row * k + step, tl.where(active, best, -1))
        tl.store(values + row * k + step, value)
        chosen = best.to(tl.int64)
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
    atoms,
    dim,
    k,
    gram_stride,
    ATOMS: tl.constexpr,
    DIM: tl.constexpr,
    SELECTION: tl.constexpr,
    STOPS: tl.constexpr,
    TOLERANCE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    place, column = tl.arange(0, ATOMS), tl.arange(0, DIM)
    is_column = column < dim
    rest = tl.load(residual + row * dim + column, is_column, other=0)
    active = row >= 0
    chosen = row * 0
    value = tl.sum(rest * 0, 0)
    for step in range(k):
        top = value * 0 + float("-inf")
        next_value = value * 0
        best = atoms - 1
        for start in range(0, atoms, ATOMS):
            atom = start + place
            is_atom = atom < atoms
            score = tl.load(scores + row * atoms + atom, is_atom, other=0)
            if step > 0:
                score -= value * tl.load(gram + chosen * gram_stride + atom, is_atom, other=0)
                tl.store(scores + row * atoms + atom, score, is_atom)
            rank = tl.where(is_atom, tl.abs(score) if SELECTION == 2 else score, float("-inf"))
            tile_top = tl.max(rank, 0)
            tile_best = tl.min(tl.where(rank == tile_top, atom, atoms - 1), 0)
            tile_value = tl.sum(tl.where(atom == tile_best, score, 0), 0)
            better = tile_top > top
            best = tl.where(better, tile_best, best)
            next_value = tl.where(better, tile_value, next_value)
            top = tl.where(better, tile_top, top)
        value = next_value
        if STOPS:
            active = active & _goes_on(value, rest, SELECTION, TOLERANCE)
            value = tl.where(active, value, 0)
        tl.store(indices + row * k + step, tl.where(active, best, -1))
        tl.store(values + row * k + step, value)
        chosen = best.to(tl.int64)
        rest -= value * tl.load(dictionary + chosen * dim + column, is_column, other=0)
    tl.store(residual + row * dim + column, rest, is_column)


@triton.jit
def _reverse_rounds(  # type: ignore[no-untyped-def]  # Triton finds the types
    dictionary, indices, values, residual, grad_values, grad_x, grad_dictionary, dim, k, DIM: tl.constexpr
):
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
        place = grad_dictionary + index * dim + column
        tl.atomic_add(place, weight * restored - value * grad, column < tl.where(taken, dim, 0), sem="relaxed")
        grad += weight * atom
    tl.store(grad_x + row * dim + column, grad, is_column)
