"""How many training workers there are, and what each is given of the cluster."""

from dataclasses import dataclass
from typing import Self

from isoenergy.counts import counted, counted_range
from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize, Resources


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
        CPUs. A cluster that autoscales counts as large as it may grow. Raises InputError if there is no room for the
        fewest.
        """
        size = ClusterSize.of_this_one()
        gpu = any(resources.get("GPU", 0) >= 1 for way in size.ways for resources, _ in way)
        now, later = (sum(_places(resources, 1, gpu) * count for resources, count in way) for way in size.ways)
        room = max(now, later)
        unit = "GPUs, each with a CPU beside it" if gpu else "CPUs"
        automatic = (now or later) if gpu else (_nodes_with_cpus(size.now) or _nodes_with_cpus(size.later))
        fewest, most = (workers.fewest, workers.most) if workers.most else (automatic, automatic)
        if fewest > room or fewest < 1:
            raise InputError(
                f"{max(fewest, 1)} workers need as many {unit}, and the cluster has {room}"
                f"{' at its largest' * bool(size.later)}; give --workers {max(room, 1)}, or --workers "
                f"{max(room, 1)},{max(fewest, 1)} to begin with those there are"
            )
        way = size.now if now >= min(most, room) else size.later
        return cls(fewest, most, _cpus_each(way, min(most, room), gpu), gpu)

    @property
    def num_workers(self) -> int | tuple[int, int]:
        """What `ScalingConfig` takes: a number, or the fewest and the most of an elastic run."""
        return self.most if self.fewest == self.most else (self.fewest, self.most)

    @property
    def resources(self) -> dict[str, float]:
        """Resources of a worker."""
        return {"CPU": self.cpus, **({"GPU": 1} if self.gpu else {})}

    def __str__(self) -> str:
        cpus = counted(self.cpus, "CPU")
        each = f"1 GPU and {cpus}" if self.gpu else cpus
        return f"{counted_range(self.fewest, self.most, 'worker')}, each with {each}"


def _places(resources: Resources, cpus: int, gpu: bool) -> int:
    """How many workers of `cpus` CPUs a node has room for."""
    places = int(resources.get("CPU", 0)) // cpus
    return min(places, int(resources.get("GPU", 0))) if gpu else places


def _nodes_with_cpus(way: list[tuple[Resources, int]]) -> int:
    return sum(count for resources, count in way if resources.get("CPU", 0) >= 1)


def _cpus_each(way: list[tuple[Resources, int]], workers: int, gpu: bool) -> int:
    """Most CPUs a worker such that all have a place."""
    largest = max((int(resources.get("CPU", 0)) for resources, _ in way), default=1)
    for cpus in range(largest, 1, -1):
        if sum(_places(resources, cpus, gpu) * count for resources, count in way) >= workers:
            return cpus
    return 1
