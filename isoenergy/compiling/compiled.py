"""Compilation of kernels for CPUs."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call; keep the code between processes where a folder can be written."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"nnan", "nsz", "contract", "reassoc"},  # reassoc: sums and maxima in vector registers
    }
    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        kernel = numba.njit(**options)(function)
    return kernel
