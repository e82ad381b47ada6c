"""The parts of a training step, run as they are or, on a GPU, as CUDA graphs: a launch each instead of hundreds.

A graph repeats its kernels with the addresses and the numbers that they were captured with. So a part that is captured
reads its batch from memory of its own, changes in place what outlives a step, and holds no number that a later step
would have otherwise. Adam does: a schedule changes its rate and momentum, which its one kernel takes as numbers; it
stays between the parts.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

WARM_UPS = 3
"""Steps before a part is captured, in which kernels are compiled and libraries make what they keep."""

Part = Callable[..., None]


class Graph(Protocol):
    """What is captured of one part."""

    def warm_up(self, part: Part) -> None:
        """Run the part as it is, where it will be captured."""
        ...

    def capture(self, part: Part) -> None:
        """Keep what the part gives the device to do, which does none of it yet; raises RuntimeError if it waits."""
        ...

    def replay(self) -> None:
        """Give it to the device."""
        ...


class CudaGraph:
    """A CUDA graph, and the stream that its part is warmed up and captured on."""

    def __init__(self, device: torch.device) -> None:
        """Capture nothing yet."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, part: Part) -> None:
        """Run the part; what comes before and after it, on the current stream, waits for its turn."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            part()
        current.wait_stream(self._stream)

    def capture(self, part: Part) -> None:
        """Capture the part; meanwhile the thread that reads batches may do as it likes."""
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            part()

    def replay(self) -> None:
        """Launch on the current stream."""
        self._graph.replay()


class PlainParts:
    """Runs parts as they are."""

    def run(self, name: Hashable, part: Part, *inputs: Tensor) -> None:
        """Run a part; see `CapturedParts.run`."""
        del name
        part(*inputs)


@dataclass
class _Captured:
    """A part that is to be captured, or has been."""

    graph: Graph
    warm_ups: int = 0
    inputs: list[Tensor] | None = None
    """The memory that it reads; None before it is captured."""
    gradients: list[tuple[nn.Parameter, Tensor | None]] = field(default_factory=list)
    """Those that it writes."""


class CapturedParts:
    """Runs parts as they are for some steps, then as graphs; all as they are once one cannot be captured."""

    def __init__(self, new_graph: Callable[[], Graph], parameters: Iterable[nn.Parameter]) -> None:
        """parameters: whose gradients a part may make anew."""
        self._new_graph, self._parameters = new_graph, list(parameters)
        self._parts: dict[Hashable, _Captured] = {}
        self.gave_up = False
        """Whether a part could not be captured."""

    def run(self, name: Hashable, part: Part, *inputs: Tensor) -> None:
        """Run a part.

        name: what tells it from others; those of one name differ in nothing but the inputs' numbers.
        inputs: all tensors that are others the next time. Those of other shapes have a graph of their own.
        """
        if self.gave_up:
            return part(*inputs)
        key = (name, *(x.shape for x in inputs))
        if key not in self._parts:
            self._parts[key] = _Captured(self._new_graph())
        captured = self._parts[key]
        if captured.warm_ups < WARM_UPS:
            captured.warm_ups += 1
            return captured.graph.warm_up(partial(part, *inputs))
        if captured.inputs is None and not self._capture(captured, part, inputs):
            return part(*inputs)
        return self._replay(captured, inputs)

    def _capture(self, captured: _Captured, part: Part, inputs: tuple[Tensor, ...]) -> bool:
        """Return whether it could be done; if not, nothing has been done on the device."""
        memory = [x.clone() for x in inputs]
        before = [parameter.grad for parameter in self._parameters]
        try:
            captured.graph.capture(partial(part, *memory))
        except RuntimeError as error:
            self.gave_up = True
            self._parts.clear()
            warnings.warn(
                f"a training step could not be captured in a CUDA graph, and goes on launch by launch, with the same "
                f"results ({str(error).splitlines()[0]})",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        captured.inputs = memory
        pairs = zip(self._parameters, before, strict=True)
        captured.gradients = [(each, each.grad) for each, old in pairs if each.grad is not old]
        return True

    def _replay(self, captured: _Captured, inputs: tuple[Tensor, ...]) -> None:
        assert captured.inputs is not None
        for memory, x in zip(captured.inputs, inputs, strict=True):
            memory.copy_(x)
        captured.graph.replay()
        for parameter, gradient in captured.gradients:
            parameter.grad = gradient


def graphs_of(device: torch.device) -> Callable[[], Graph] | None:
    """Return what makes a graph on the device, if anything does."""
    return partial(CudaGraph, device) if device.type == "cuda" else None
