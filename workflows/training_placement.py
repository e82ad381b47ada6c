"""How many training workers there are, and what each is given of the cluster."""

from dataclasses import dataclass
from typing import Any, Self

import ray

from isoenergy.errors import InputError


@dataclass(frozen=True)
class Workers:
    """Fewest and most data-parallel workers; 0: as many as the cluster has places for."""

    fewest: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fewest <= self.most or (self.fewest == 0) != (self.most == 0):
            raise InputError(f"workers must be N, FEWEST,MOST or auto, got {self}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `2`, `1,4` or `auto` stands for."""
        if text == "auto":
            return cls()
        try:
            numbers = [int(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or min(numbers) < 1:
            raise InputError(f"workers must be N, FEWEST,MOST or auto, got {text!r}")
        return cls(numbers[0], numbers[-1])

    def __str__(self) -> str:
        if self.most == 0:
            return "auto"
        return str(self.most) if self.fewest == self.most else f"{self.fewest},{self.most}"


AUTOMATIC = Workers()


@dataclass(frozen=True)
class TrainingPlacement:
    """What Ray Train is asked for."""

    fewest: int
    most: int
    cpus: int
    """CPUs, hence threads, of a worker."""
    gpu: bool

    @classmethod
    def fit(cls, workers: Workers) -> Self:
        """Lay the workers out on the cluster that this process has joined.

        Where there are GPUs a worker takes one; where there are none, the default is one worker a node, with all of its
        CPUs. Raises InputError if there is no room for the fewest.
        """
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = [int(node.get("GPU", 0)) for node in nodes]
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        gpu = sum(gpus) > 0
        if gpu:
            places = sum(min(g, c) for g, c in zip(gpus, cpus, strict=True))
            room, unit = places, "GPUs, each with a CPU beside it"
            automatic = places
        else:
            room, unit = sum(cpus), "CPUs"
            automatic = sum(count > 0 for count in cpus)
        fewest, most = (workers.fewest, workers.most) if workers.most else (automatic, automatic)
        if fewest > room or fewest < 1:
            raise InputError(
                f"{max(fewest, 1)} workers need as many {unit}, and the cluster has {room}; give --workers "
                f"{max(room, 1)}, or --workers {max(room, 1)},{max(fewest, 1)} to begin with those there are"
            )
        started = min(most, room)
        each = _cpus_each(nodes, started, gpu)
        return cls(fewest, most, each, gpu)

    @property
    def num_workers(self) -> int | tuple[int, int]:
        """What `ScalingConfig` takes: a number, or the fewest and the most of an elastic run."""
        return self.most if self.fewest == self.most else (self.fewest, self.most)

    @property
    def resources(self) -> dict[str, float]:
        """Resources of a worker."""
        return {"CPU": self.cpus, **({"GPU": 1} if self.gpu else {})}

    def __str__(self) -> str:
        number = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        each = f"1 GPU and {self.cpus} CPUs" if self.gpu else f"{self.cpus} CPUs"
        return f"{number} workers, each with {each}"


def _cpus_each(nodes: list[dict[str, Any]], workers: int, gpu: bool) -> int:
    """Most CPUs a worker such that all have a place."""

    def places(cpus: int) -> int:
        return sum(min(int(node.get("CPU", 0)) // cpus, int(node.get("GPU", 0)) if gpu else workers) for node in nodes)

    largest = max((int(node.get("CPU", 0)) for node in nodes), default=1)
    return next((cpus for cpus in range(largest, 0, -1) if places(cpus) >= workers), 1)
