"""Processes of one node that meet over gloo, each with a rank."""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def run_processes(work: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Run `work(rank, *arguments)` in so many processes; raise what one of them raises.

    They are forked from a process that has imported torch once: a fresh one takes four seconds.
    """
    multiprocessing.set_forkserver_preload(["torch", "isoenergy.store", "isoenergy.training.trainer"])
    mp.start_processes(work, arguments, processes, start_method="forkserver")
