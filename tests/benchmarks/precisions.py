"""Float32 products on TF32's units, whose operands have 10 bits of mantissa."""

import torch
from torch import Tensor


def as_tf32(tensor: Tensor) -> Tensor:
    """Round float32 to TF32's 10 bits of mantissa, to nearest."""
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def as_three_tf32(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(rows, 3 · dim)` left and right operands, of TF32's numbers, of one product that is three.

    a · b is high(a) high(b) + high(a) low(b) + low(a) high(b), where low is what high leaves: the fourth is left out.
    """
    high = as_tf32(rows)
    low = as_tf32(rows - high)
    return torch.cat([high, high, low], dim=1), torch.cat([high, low, high], dim=1)
