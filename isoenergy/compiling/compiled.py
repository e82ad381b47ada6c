"""Compilation of kernels for CPUs."""

from collections.abc import Callable
from typing import Any

import numba

_FAST = {"nnan", "nsz", "contract", "reassoc"}  # reassoc: sums and maxima in vector registers


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call; keep the code between processes where a folder can be written."""
    return _compiled(function, _FAST)


def compiled_exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, with float operations as they are written: numbers may be infinite, and none may be NaN unseen."""
    return _compiled(function, False)


def _compiled(function: Callable[..., Any], fastmath: set[str] | bool) -> Callable[..., Any]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        kernel = numba.njit(**options)(function)
    return kernel
