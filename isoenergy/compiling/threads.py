"""Parallel loops on torch's own threads.

A thread pool beside torch's shares the cores with OpenMP workers that spin for milliseconds after every matrix product;
on the same team the rounds of a pursuit take two thirds of the time (2 cores, `python -m tests.benchmarks.pursuit`).
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

_TEAM_BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_parallel(task: Callable[[int, int], None], count: int, size: int) -> None:
    """Call `task(first, last)` for every `size` of `count` on torch's number of threads; they take turns as free.

    One thread gets all in one call: a kernel's call costs microseconds. `task` should release the GIL. What it raises
    is raised here, once all threads have stopped.
    """
    threads = min(torch.get_num_threads(), -(-count // size))
    if threads <= 1:
        if count:
            task(0, count)
        return
    starts = iter(range(0, count, size))  # one call of next() at a time: the GIL is held
    errors: list[BaseException] = []

    def work(_: object = None) -> None:
        try:
            for first in starts:
                task(first, min(first + size, count))
        except BaseException as error:  # a thread of C cannot raise; an interrupt too must reach the caller
            errors.append(error)

    openmp = _openmp()
    if openmp is not None:
        openmp.GOMP_parallel(_TEAM_BODY(work), None, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    if errors:
        raise errors[0]


@cache
def _openmp() -> Any:
    """The OpenMP runtime that torch brought into the process on Linux; None where there is no such thing."""
    try:
        library = ctypes.CDLL("libgomp.so.1")
        library.GOMP_parallel.argtypes = [_TEAM_BODY, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
    except (OSError, AttributeError):
        return None
    return library
