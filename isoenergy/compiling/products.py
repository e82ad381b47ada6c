"""Matrix products of rows with rows, by the library that is fastest on this processor."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

# oneDNN writes to memory of its own: taken in one size it is given again, in growing ones it would be new each time.
_ROWS_AT_A_TIME = 2048


def product(rows: Tensor, others: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `(n, m)` inner products of `(n, dim)` and `(m, dim)` rows, in `out` if it is given."""
    has_gradient = torch.is_grad_enabled() and (rows.requires_grad or others.requires_grad)
    plain = rows.device.type == "cpu" and rows.dtype == torch.float32 and len(rows) > 0 and len(others) > 0
    if plain and not has_gradient and onednn_is_faster():
        if out is None:
            return _onednn_product(rows, others)
        for part, place in zip(rows.split(_ROWS_AT_A_TIME), out.split(_ROWS_AT_A_TIME), strict=True):
            place.copy_(_onednn_product(part, others))
        return out
    return torch.mm(rows, others.T) if out is None else torch.mm(rows, others.T, out=out)


def product_error(dim: int) -> float:
    """Return γ: by how much a sum of `dim` products in float32, in any order, is off, times both rows' norms."""
    return 2 * (dim + 2) * 2.0**-24


def _onednn_product(rows: Tensor, others: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, others, None, "none", [], "")
    return found


@cache
def onednn_is_faster() -> bool:
    """Whether float32 products on this CPU are oneDNN's, not MKL's: half of the time on an AMD EPYC with AVX-512.

    MKL gives processors that are not Intel's its AVX2 code. A rule, not a race: a training that is resumed on the same
    machine must round as it did before.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    vendors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("vendor_id")]
    return bool(vendors) and "Intel" not in vendors[0] and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def bf16_product(rows: Tensor, others: Tensor, out: Tensor) -> None:
    """Write the `(n, m)` inner products of `(n, dim)` and `(m, dim)` rows in bf16, summed in float32, rounded once."""
    if len(rows) == 1:  # matrix–vector kernels may sum in bf16
        pair = out.new_empty(2, len(others))
        bf16_product(rows.expand(2, -1), others, pair)
        out.copy_(pair[:1])
    elif bf16_speed() and len(others) > 1:
        torch.mm(rows, others.T, out=out)
    else:
        out.copy_(torch.mm(rows.float(), others.float().T))


@cache
def bf16_speed() -> int:
    """Return how many times as fast as float32 products those of bf16 numbers are here; 0: there is nothing for them.

    A rule too, and for the same reason: 2 with AVX-512's instructions, measured; 5 with AMX, of a prototype's products.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return 0
    if torch.cpu._is_amx_tile_supported():
        return 5
    return 2 if torch.cpu._is_avx512_bf16_supported() else 0
