"""Running a plan of steps as plain Ray tasks."""

import ctypes
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from isoenergy.errors import InputError
from workflows.cluster.cluster_size import ClusterSize
from workflows.steps.step import FixedStep, PlannedStep, Step, code_version, grouped
from workflows.steps.step_bucket import StepBucket
from workflows.steps.step_execution import StepError, execute
from workflows.steps.step_placement import place
from workflows.steps.step_storage import StepStorage, storage_at

_IN_FLIGHT = 1000
"""Tasks that Ray knows of at a time; looking after each takes time and memory of the driver."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_END = 10.0
_NAMES_IN_BAR, _LETTERS_IN_BAR = 3, 24


def run_on_ray(planned: list[PlannedStep], root: str | Path, what: str) -> None:
    """Run what is due, as parallel as the inputs allow; `root`: a folder that all nodes see, or an fsspec URL.

    A step that fails keeps those that need it from being run; the others are finished before its error is raised. Ray
    tries again what is lost with a worker or its node. A step computes on as many threads as it has CPUs.

    Raises InputError, and runs nothing, if no node can hold a step (see `place`), or another run is at work in `root`,
    which an object store does not tell.
    """
    due = [item.step for item in planned if item.due]
    if not due:
        return
    options = place(due, ClusterSize.of_this_one())
    storage = storage_at(root)
    with (
        storage.alone(),
        tqdm(total=len(planned), initial=len(planned) - len(due), desc=what, unit=" steps") as bar,
    ):
        try:
            _run_all(due, root, storage, options, bar)
        finally:
            if isinstance(storage, StepBucket):
                _forget_on_all_nodes(root)


def _run_all(
    due: list[Step], root: str | Path, storage: StepStorage, options: dict[str, dict[str, Any]], bar: Any
) -> None:
    numbers = {step.name: number for number, step in enumerate(due)}
    order = TopologicalSorter({step.name: [n.name for n in step.inputs.values() if n.name in numbers] for step in due})
    order.prepare()
    task = ray.remote(_run)
    waiting: list[int] = []
    running: dict[Any, str] = {}
    failure: Exception | None = None
    by_other_code, looked = 0, 0.0
    try:
        while True:
            for name in order.get_ready():
                heappush(waiting, numbers[name])
            while waiting and len(running) < _IN_FLIGHT:
                step = due[heappop(waiting)]
                asked = options[step.name]
                running[task.options(name=step.name, **asked).remote(step.fixed(root), asked["num_cpus"])] = step.name
            if not running:
                break
            finished, _ = ray.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS)
            for done in finished:
                name = running.pop(done)
                try:
                    by_other_code += ray.get(done) != code_version(due[numbers[name]].function.__module__)
                except Exception as error:
                    if failure is None:
                        failure = _failure(name, error)
                        _say(bar, f"step {name} failed; those that do not need it go on")
                else:
                    order.done(name)
                    bar.update()
            if time.monotonic() - looked > _SECONDS_BETWEEN_LOOKS:
                looked = time.monotonic()
                bar.set_postfix_str(_in_brief(storage.at_work(set(running.values()))))
    finally:
        for left in running:
            ray.cancel(left, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=_SECONDS_TO_END)
    if by_other_code:
        _say(
            bar,
            f"{by_other_code} steps were run by other code than this process has: isoenergy was changed meanwhile, or "
            f"nodes have another version; the next run does them again",
        )
    if failure is not None:
        raise failure


def _run(step: FixedStep, cpus: float) -> str:
    """Return which code made the result."""
    with _threads(max(1, int(cpus))):
        execute(step)
    _give_back_memory()
    return code_version(step.function.__module__)


def _forget_on_all_nodes(root: str | Path) -> None:
    """Have every node remove the copies that its steps worked on."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=0)(_forget)
    tasks = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(root))
        for node in nodes
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS_TO_END)


def _forget(root: str) -> None:
    storage_at(root).forget()


def _give_back_memory() -> None:
    """Return freed memory to the system: a worker that is used again would keep the most that any step took."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc has it
        trim(0)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute on `count` threads; workers are used again, with the number of threads that the last task left."""
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _failure(name: str, error: Exception) -> Exception:
    """Return what `execute` raised, as it would be raised here; Ray's own words on a step that was lost."""
    failure = getattr(error, "cause", None)
    if not isinstance(failure, InputError | StepError):
        failure = StepError(f"step {name}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _in_brief(names: Iterable[str]) -> str:
    groups = [
        f"{_end_of(group)} ×{len(parts)}" if len(parts) > 1 else _end_of(parts[0])
        for group, parts in grouped(names).items()
    ]
    more = len(groups) - _NAMES_IN_BAR
    return ", ".join(groups[:_NAMES_IN_BAR]) + (f" and {more} more" if more > 0 else "")


def _end_of(name: str) -> str:
    return name if len(name) <= _LETTERS_IN_BAR else f"…{name[1 - _LETTERS_IN_BAR :]}"


def _say(bar: Any, line: str) -> None:
    tqdm.write(f"{bar.desc}: {line}", file=sys.stderr)
