"""Sums and selections over the rows of all processes of a training; in a process alone, over its own."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Given = TypeVar("Given")


def processes() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_of_all(tensor: Tensor) -> Tensor:
    """Return the sum over all processes; differentiable, as a loss that every process computes alike.

    The gradient that comes back is multiplied by the number of processes, over which DDP then averages.
    """
    return _SumOfAll.apply(tensor) if processes() > 1 else tensor


class _SumOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return gradient * processes()


def add_up(tensor: Tensor) -> None:
    """Put the sum over all processes in the place of each one's numbers."""
    if processes() > 1:
        dist.all_reduce(tensor)


def from_first(tensor: Tensor) -> Tensor:
    """Return what the first process has."""
    if processes() > 1:
        dist.broadcast(tensor, 0)
    return tensor


def rows_of_all(rows: int, device: torch.device) -> int:
    """Return the number of rows that all processes hold together."""
    return int(sum_of_all(torch.tensor(rows, device=device))) if processes() > 1 else rows


def largest_of_all(values: Tensor, count: int) -> Tensor:
    """Return the `count` largest of the 1-d `values` of all processes, or all there are."""
    own = values.topk(min(count, len(values))).values
    if processes() == 1:
        return own
    padded = own.new_full((count,), -torch.inf)
    padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in range(processes())]
    dist.all_gather(gathered, padded)
    together = torch.cat(gathered).topk(count).values
    return together[together.isfinite()]


@dataclass(frozen=True)
class NodeGroup:
    """The processes of a training that run on one machine, and can map each other's memory."""

    rank: int = 0
    """This process's number among them."""
    size: int = 1
    group: Any = None

    @classmethod
    def form(cls) -> Self:
        """Find them; all processes of the training must call it together."""
        if processes() == 1:
            return cls()
        here = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
        places: list[Any] = [None] * processes()
        dist.all_gather_object(places, here)
        mine: Any = None
        for place in dict.fromkeys(places):
            group = dist.new_group([rank for rank, there in enumerate(places) if there == place], backend="gloo")
            mine = group if place == here else mine
        return cls(dist.get_rank(mine), dist.get_world_size(mine), mine)

    def gather(self, value: Given) -> list[Given]:
        """Return what each of them gives, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def barrier(self) -> None:
        """Wait until all of them are here."""
        if self.size > 1:
            dist.barrier(group=self.group)
