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
