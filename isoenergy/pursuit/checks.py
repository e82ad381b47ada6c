"""What a pursuit refuses, and the precision that it works in."""

from numbers import Integral

import torch
from torch import Tensor

from isoenergy.compiling.products import bf16_product

_GRAM_TOLERANCE = {"cpu": 1e-4}
_BF16_STEP = 2**-7  # from one number to the next, times its magnitude
_BF16_ROWS = 8  # in one of bf16 alone a small change may not be seen
_GRAM_TOLERANCE_OF_OTHERS = 5e-3  # products on a GPU may have been computed in TF32, whose mantissa has 10 bits


def check_arguments(x: Tensor, dictionary: Tensor, k: int, finite: bool = True) -> None:
    """Raise ValueError, naming the argument, for wrong shapes, dtypes, devices or k.

    finite: whether to look for NaN and infinity too.
    """
    if x.ndim != 2 or not x.is_floating_point():
        raise ValueError(f"x must be a floating point (batch, dim) tensor, got {x.dtype} of shape {tuple(x.shape)}")
    if dictionary.ndim != 2 or 0 in dictionary.shape or dictionary.shape[1] != x.shape[1]:
        raise ValueError(f"dictionary must be (atoms, {x.shape[1]}) to match x, got {tuple(dictionary.shape)}")
    if dictionary.dtype != x.dtype or dictionary.device != x.device:
        raise ValueError(
            f"dictionary must have the dtype and device of x ({x.dtype}, {x.device}), "
            f"got {dictionary.dtype}, {dictionary.device}"
        )
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ValueError(f"k must be an integer of at least 1, got {k!r}")
    if finite:
        check_finite(x, "x")
        check_finite(dictionary, "dictionary")


def check_finite(rows: Tensor, name: str) -> None:
    """Raise ValueError, naming the argument and its first bad rows, if anything in `(rows, dim)` is not finite."""
    if rows.numel() and not _is_finite(rows):
        bad = (~rows.isfinite()).any(dim=1).nonzero()[:5].squeeze(1).tolist()
        raise ValueError(f"{name} must be finite, got NaN or infinity in rows {bad}" + " …" * (len(bad) == 5))


@torch.no_grad()
def check_gram(gram: Tensor, dictionary: Tensor) -> None:
    """Raise ValueError if `gram` cannot be the Gram matrix of `dictionary`: by its shape, dtype, device or first row.

    The first row has every atom in it: whatever has changed since changes it, unless it is orthogonal to the first.
    One in bf16 is the screen's, with zeros on its diagonal; its first rows are looked at.
    """
    atoms, dtype = len(dictionary), working_dtype(dictionary)
    is_screens = gram.dtype == torch.bfloat16 and dtype == torch.float32 and gram.device.type == "cpu"
    if gram.shape != (atoms, atoms) or not (gram.dtype == dtype or is_screens) or gram.device != dictionary.device:
        raise ValueError(
            f"gram must be ({atoms}, {atoms}) {dtype} on {dictionary.device}, as "
            f"gram_matrix(dictionary) returns, got {tuple(gram.shape)} {gram.dtype} on {gram.device}"
        )
    ours = in_working_precision(dictionary)
    first = ours[: _BF16_ROWS if is_screens else 1]
    rows = _bf16_products(first, ours) if is_screens else first @ ours.T
    tolerance = _GRAM_TOLERANCE.get(gram.device.type, _GRAM_TOLERANCE_OF_OTHERS) * rows.abs().max()
    if is_screens:
        tolerance = tolerance + _BF16_STEP * rows.abs()
        rows.fill_diagonal_(0)
    difference = (gram[: len(first)] - rows).abs()
    if not bool((difference <= tolerance).all()):
        raise ValueError(
            f"gram must be that of this very dictionary, and its first rows are off by {float(difference.max()):.2g}: "
            f"the dictionary has changed since; give {'screen_' * is_screens}gram_matrix(dictionary) anew"
        )


def _bf16_products(rows: Tensor, dictionary: Tensor) -> Tensor:
    products = rows.new_empty(len(rows), len(dictionary), dtype=torch.bfloat16)
    bf16_product(rows.to(products.dtype), dictionary.to(products.dtype), products)
    return products.float()


def working_dtype(tensor: Tensor) -> torch.dtype:
    """Return float64 for float64, float32 for float32 and the half precisions."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def in_working_precision(tensor: Tensor) -> Tensor:
    """Return `tensor` in the precision that the pursuit computes in; itself, if it has it."""
    return tensor.to(working_dtype(tensor))


def _is_finite(tensor: Tensor) -> bool:
    """One pass and, on a GPU, one wait: minimum and maximum are NaN if anything is."""
    low, high = torch.aminmax(tensor.detach())
    return bool((low.isfinite() & high.isfinite()).item())
