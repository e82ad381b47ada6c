"""What codes do with the k atoms of a row, compiled for CPUs: k² comparisons in registers, no tensors for them.

All take float32 or float64, and have no gradient.
"""

from functools import partial

import torch
from torch import Tensor

from isoenergy.compiling.compiled import compiled
from isoenergy.compiling.threads import in_parallel

_ROWS_A_TASK = 256


def met(a_indices: Tensor, b_indices: Tensor, b_values: Tensor) -> Tensor:
    """Return `(batch, k)`: the sum of what the other code has at each atom of this one."""
    out = torch.empty(a_indices.shape, dtype=b_values.dtype)
    arrays = (part.detach().contiguous().numpy() for part in (a_indices, b_indices, b_values, out))
    in_parallel(partial(_met, *arrays), len(out), _ROWS_A_TASK)
    return out


def merged(indices: Tensor, values: Tensor) -> Tensor:
    """Return `(batch, k)`: a repeated atom's sum at its first place, zeros at the others."""
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    arrays = (part.detach().contiguous().numpy() for part in (indices, values, out))
    in_parallel(partial(_merged, *arrays), len(out), _ROWS_A_TASK)
    return out


def largest_first(indices: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(batch, k)` int32 atoms and their merged values by size, the largest first; zeros are behind."""
    sizes = merged(indices, values)
    atoms = indices.detach().to(torch.int32, copy=True, memory_format=torch.contiguous_format)
    in_parallel(partial(_sort_by_size, atoms.numpy(), sizes.numpy()), len(sizes), _ROWS_A_TASK)
    return atoms, sizes


@compiled
def _met(a_indices, b_indices, b_values, out, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    for row in range(first, last):
        for place in range(a_indices.shape[1]):
            atom, total = a_indices[row, place], b_values.dtype.type(0)
            for other in range(b_indices.shape[1]):
                total += b_values[row, other] if b_indices[row, other] == atom else b_values.dtype.type(0)
            out[row, place] = total


@compiled
def _merged(indices, values, out, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    for row in range(first, last):
        for place in range(indices.shape[1]):
            out[row, place] = values[row, place]
            for earlier in range(place):
                if indices[row, earlier] == indices[row, place]:
                    out[row, earlier] += values[row, place]
                    out[row, place] = 0
                    break


@compiled
def _sort_by_size(atoms, values, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    """Sort each row by insertion: a pursuit finds large coefficients first, so that few have far to go."""
    for row in range(first, last):
        for place in range(1, atoms.shape[1]):
            atom, value = atoms[row, place], values[row, place]
            while place > 0 and abs(values[row, place - 1]) < abs(value):
                atoms[row, place], values[row, place] = atoms[row, place - 1], values[row, place - 1]
                place -= 1
            atoms[row, place], values[row, place] = atom, value
