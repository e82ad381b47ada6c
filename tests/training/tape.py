"""What stands in for a CUDA graph where there is none: operators that are repeated as they were captured.

A replay gives each the very tensors and numbers that it had, and puts what it returns where the first result lies. So
what a graph would get wrong, a tape gets wrong: state that a step binds anew, numbers that a schedule changes, a batch
that is read where it lies.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


def tensors_of(values: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor))


def memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Tape(TorchDispatchMode):
    """A `step_parts.Graph` of operators; `calls` are those of its part."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self._made: set[int] = set()
        self._found: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.warm_ups = self.replays = 0

    def __torch_dispatch__(self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "profiler":  # marks of time
            return func(*args, **kwargs)
        for tensor in tensors_of((args, kwargs)):
            if memory_of(tensor) not in self._made | self._found.keys():
                memory = tensor.untyped_storage()
                self._found[memory_of(tensor)] = memory, memory.clone()
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        self._made |= {memory_of(tensor) for tensor in tensors_of(result)} - self._found.keys()
        return result

    def warm_up(self, part: Callable[[], None]) -> None:
        self.warm_ups += 1
        part()

    def capture(self, part: Callable[[], None]) -> None:
        """As of a graph, nothing of it is done: what it changed is put back."""
        with self:
            part()
        for memory, before in self._found.values():
            memory.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, kept in self.calls:
            for mine, again in zip(tensors_of(kept), tensors_of(func(*args, **kwargs)), strict=True):
                if memory_of(mine) != memory_of(again):  # else it is a view, or was changed in place
                    mine.copy_(again)

    def told(self) -> list[tuple[str, list[object]]]:
        """Each operator with its numbers and, for each tensor, which memory it is: what a graph takes down.

        Memory that was there before is itself; what an operator made is told by when.
        """
        made: dict[int, str] = {}
        lines = []
        for number, (func, args, kwargs, result) in enumerate(self.calls):
            leaves = tree_flatten((args, kwargs))[0]
            lines.append((str(func), [_told(leaf, made) for leaf in leaves]))
            for place, tensor in enumerate(tensors_of(result)):
                if memory_of(tensor) in self._made:
                    made.setdefault(memory_of(tensor), f"result {place} of operator {number}")
        return lines


def _told(leaf: object, made: dict[int, str]) -> object:
    if not isinstance(leaf, Tensor):
        return leaf
    memory = memory_of(leaf)
    return made.get(memory, memory), leaf.dtype, tuple(leaf.shape), leaf.stride(), leaf.storage_offset()
