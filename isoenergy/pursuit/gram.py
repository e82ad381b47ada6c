"""The two matrix products of a pursuit, correlations and Gram matrix, in a precision that no global setting changes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoenergy.compiling.products import product
from isoenergy.compiling.threads import in_parallel
from isoenergy.pursuit.policy import Precision

GRAM_PANEL = 256
"""Columns of a Gram matrix that are computed at a time."""
# Rows of the Gram matrix are kept this much apart, or columns of a power of two would all meet in one cache set.
_ROW_PADDING_BYTES = 64
_ROWS_A_TASK = 256


@contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Compute float32 matrix products in `precision`, whatever the process or an autocast region has set."""
    backends: tuple[Any, Any] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]  # of no stub
    before = [backend.fp32_precision for backend in backends]
    try:
        backends[0].fp32_precision = "tf32" if precision == "tf32" else "ieee"
        backends[1].fp32_precision = "ieee"
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def correlations(x: Tensor, dictionary: Tensor, out: Tensor | None = None) -> Tensor:
    """Return `(batch, atoms)` inner products.

    A single row is computed as two: matrix–vector kernels round the last columns otherwise than the others, and matrix
    products, on most processors, do not.
    """
    if len(x) == 1:
        pair = product(x.expand(2, -1), dictionary)
        return pair[:1] if out is None else out.copy_(pair[:1])
    return product(x, dictionary, out)


def gram_matrix(dictionary: Tensor, precision: Precision = "full") -> Tensor:
    """Return `(atoms, atoms)` inner products of the atoms of `dictionary`, `(atoms, dim)`, without gradient.

    On a CPU only the upper triangle is computed, in panels, then mirrored: half the FLOPs, and exactly symmetric.
    Pass it to `matching_pursuit(gram=)` to encode many batches with one frozen dictionary.
    """
    with torch.no_grad(), matmul_precision(precision):
        if dictionary.device.type != "cpu":
            return torch.mm(dictionary, dictionary.T)
        gram = empty_gram(len(dictionary), dictionary.dtype)
        write_gram(gram, dictionary)
        return gram


def gram_matrices(dictionary: Tensor, dictionaries: int) -> Tensor:
    """Return `(dictionaries · atoms, atoms)`, the Gram matrix of each of several dictionaries."""
    with torch.no_grad(), matmul_precision("full"):
        each = dictionary.view(dictionaries, -1, dictionary.shape[1])
        return torch.bmm(each, each.mT).flatten(0, 1)


def empty_gram(atoms: int, dtype: torch.dtype) -> Tensor:
    """Return memory for `write_gram`, `(atoms, atoms)` on a CPU."""
    return empty_on_huge_pages((atoms, padded_row(atoms, dtype)), dtype)[:, :atoms]


def write_gram(gram: Tensor, dictionary: Tensor) -> None:
    """Write the Gram matrix of `(atoms, dim)` to `(atoms, atoms)` memory on a CPU."""
    for low, high in even_parts(len(dictionary), GRAM_PANEL):
        write_panel(gram, dictionary, low, high)


def write_panel(gram: Tensor, dictionary: Tensor, low: int, high: int) -> None:
    """Write columns `low` to `high` of a Gram matrix down to the diagonal, and the same as rows.

    What lies below the diagonal is a copy: not every processor rounds both halves alike.
    """
    from isoenergy.pursuit.tiles import mirror  # numba takes a second to load

    correlations(dictionary[:high], dictionary[low:high], out=gram[:high, low:high])
    in_parallel(partial(mirror, gram.numpy(), low, high), high, _ROWS_A_TASK)


def padded_row(atoms: int, dtype: torch.dtype) -> int:
    """Return the numbers that a row of a Gram matrix takes in memory."""
    return atoms + _ROW_PADDING_BYTES // dtype.itemsize


def even_parts(count: int, largest: int) -> list[tuple[int, int]]:
    """Cut `range(count)` into parts of nearly one size, at most `largest`: no part of a single atom is left over."""
    parts = math.ceil(count / largest)
    edges = [count * part // parts for part in range(parts + 1)]
    return list(pairwise(edges))


def empty_on_huge_pages(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised CPU tensor; numpy asks Linux for huge pages, torch does not, and faults cost more."""
    numpy_dtype = torch.empty(0, dtype=dtype).numpy().dtype
    return torch.from_numpy(np.empty(shape, numpy_dtype))
