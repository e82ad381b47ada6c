"""Matching Pursuit: each row of a batch as a sum of k atoms, greedily chosen."""

from torch import Tensor

from isoenergy.codes import SparseCodes
from isoenergy.pursuit.oracle import matching_pursuit_oracle

__all__ = ["matching_pursuit"]


def matching_pursuit(x: Tensor, dictionary: Tensor, k: int) -> SparseCodes:
    """Encode each row of `x` with `k` rounds of Matching Pursuit; differentiable in both tensors.

    x: `(batch, dim)`, floating point; batch may be 0.
    dictionary: `(atoms, dim)`, the dtype and device of `x`; atoms of any norm.
    k: rounds, at least 1. An atom may be chosen again; ties go to the lowest index.

    Raises ValueError, naming the argument, for wrong shapes, dtypes, devices or k.
    Source: paper 1.3; the selection is the signed maximum of the correlations.
    """
    _check(x, dictionary, k)
    return matching_pursuit_oracle(x, dictionary, k)


def _check(x: Tensor, dictionary: Tensor, k: int) -> None:
    if x.ndim != 2 or not x.is_floating_point():
        raise ValueError(f"x must be a floating point (batch, dim) tensor, got {x.dtype} of shape {tuple(x.shape)}")
    if dictionary.ndim != 2 or dictionary.shape[0] < 1 or dictionary.shape[1] != x.shape[1]:
        raise ValueError(f"dictionary must be (atoms, {x.shape[1]}) to match x, got {tuple(dictionary.shape)}")
    if dictionary.dtype != x.dtype or dictionary.device != x.device:
        raise ValueError(
            f"dictionary must have the dtype and device of x ({x.dtype}, {x.device}), "
            f"got {dictionary.dtype}, {dictionary.device}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
