"""A step in a worker process of its own: on as many threads as it was given CPUs, and what it leaves in memory."""

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import ClassVar

from threadpoolctl import ThreadpoolController

from workflows.steps.step import FixedStep, code_version
from workflows.steps.step_execution import execute

_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"
"""How many kernels oneDNN keeps, by itself 1,024: steps multiply in many hundreds of shapes, 0.2 MB and more each."""
_MOST_UNUSED = 2**28
"""Bytes of the heap that a worker keeps between steps beside what it uses."""
_LARGE = 3 * 2**29
"""Bytes that a step asks for, from which on what is kept is given back before it: large arrays do not fit into it."""


def run_in_worker(step: FixedStep, cpus: float, memory: float) -> tuple[str, float]:
    """Run a step whose inputs are done; return which code made the result, and in how many seconds.

    memory: bytes that the step asks for. Raises InputError or StepError, as `execute` does.
    """
    started = time.monotonic()
    if memory >= _LARGE:
        _give_back_memory(0)
    os.environ.setdefault(*_KERNELS)  # oneDNN reads it when it is first used
    with _threads(max(1, int(cpus))):
        execute(step)
    _give_back_memory(_MOST_UNUSED)
    return code_version(step.function.__module__), time.monotonic() - started


def _give_back_memory(most_unused: int) -> None:
    """Return freed memory to the system if it is more than that: a worker would keep the most of any of its steps.

    A little is kept: to have it faulted in again takes as long as many a step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim") and _unused_bytes(library) > most_unused:  # glibc has it
        library.malloc_trim(0)


def _unused_bytes(library: ctypes.CDLL) -> int:
    """Return how much of the heap is free, given back or not; as much as can be where that is not known."""
    if not hasattr(library, "mallinfo2"):  # glibc has it since 2.33
        return sys.maxsize
    library.mallinfo2.restype = _Heap
    return int(library.mallinfo2().fordblks)


class _Heap(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in _names.split()]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on `count` threads; workers are used again, with the number of threads that the last task left."""
    import torch  # in the worker alone

    before = torch.get_num_threads()
    with _thread_pools(len(sys.modules)).limit(limits=count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> ThreadpoolController:
    """Return the thread pools of all libraries that are loaded: found, in 5 ms, anew where modules have come."""
    del modules
    return ThreadpoolController()
