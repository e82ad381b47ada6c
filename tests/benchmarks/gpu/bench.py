"""The device that is measured, its clock and the time that is left."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Measures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What every part is given."""

    device: torch.device
    tiny: bool
    """Shapes for Triton's interpreter, to see that the parts run; what they measure then says nothing."""
    deadline: float
    """By `time.monotonic`."""

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], object], calls: int) -> float:
        """Seconds a call of several, one after the other, with what the device then still has to do."""
        self.wait()
        start = time.perf_counter()
        for _ in range(calls):
            action()
        self.wait()
        return (time.perf_counter() - start) / calls

    def median_seconds(self, action: Callable[[], object], budget: float = 2.0) -> float:
        """Median over groups of five calls, after two to warm up; fewer if they would take more than `budget`."""
        if self.tiny:
            return self.seconds(action, 1)
        self.seconds(action, 1)
        once = self.seconds(action, 1)
        groups = max(1, min(7, int(budget / (5 * once))))
        calls = 5 if once < budget else 1
        return statistics.median(self.seconds(action, calls) for _ in range(groups))
