"""Running a plan of steps as plain Ray tasks."""

import ctypes
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, ClassVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from isoenergy.errors import InputError
from workflows.cluster.beside_driver import beside_driver
from workflows.cluster.cluster_size import ClusterSize
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Waiting
from workflows.steps.step import FixedStep, PlannedStep, Step, code_version, grouped
from workflows.steps.step_bucket import StepBucket
from workflows.steps.step_execution import StepError, execute
from workflows.steps.step_placement import place
from workflows.steps.step_storage import storage_at
from workflows.steps.step_work import Work

_BEGUN = 4
"""Workers that are begun before it is known how many steps there are."""
_IN_FLIGHT = 1000
"""Tasks that Ray knows of at a time; looking after each takes time and memory of the driver."""
_KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"
"""How many kernels oneDNN keeps, by itself 1,024: steps multiply in many hundreds of shapes, 0.2 MB and more each."""
_MOST_UNUSED = 2**28
"""Bytes of the heap that a worker keeps between steps beside what it uses."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_END = 10.0
_NAMES_IN_BAR, _LETTERS_IN_BAR = 3, 48
_BAR = "{desc}: {percentage:3.0f}% of the work |{bar}| {elapsed}<{remaining}{postfix}"


def begin_workers(modules: Sequence[str]) -> None:
    """Have workers of a Ray that runs already import `modules`, while this process plans the steps that need them.

    Nothing is waited for, nor is a CPU, which what runs before may still hold. Where no Ray runs none is started: there
    may be nothing to do.
    """
    if not ray.is_initialized():
        return
    task = ray.remote(_import)
    for _ in range(min(_BEGUN, int(ray.cluster_resources().get("CPU", 0)))):
        task.options(num_cpus=0, max_retries=0).remote(modules)


def run_on_ray(
    planned: list[PlannedStep],
    root: str | Path,
    what: str,
    patience: float = 60 * PATIENCE_MINUTES,
    spoken: Callable[[str], str] = str,
) -> None:
    """Run what is due, as parallel as the inputs allow; `root`: a folder that all nodes see, or an fsspec URL.

    A step that fails keeps those that need it from being run; the others are finished before its error is raised. Ray
    tries again what is lost with a worker or its node. A step computes on as many threads as it has CPUs. patience:
    seconds for which none may have room, which is said. spoken: what people call a step, by its name.

    Raises InputError, and runs nothing, if no node can hold a step (see `place`), or another run is at work in `root`,
    which an object store does not tell; and out of patience.
    """
    due = [item.step for item in planned if item.due]
    if not due:
        return
    options = place(due, ClusterSize.of_this_one())
    storage = storage_at(root)
    with (
        storage.alone(),
        storage_watched(str(root)),
        tqdm(total=1.0, desc=what, bar_format=_BAR) as bar,
    ):
        try:
            _Runner(due, root, options, bar, patience, spoken).run()
        finally:
            if isinstance(storage, StepBucket):
                _forget_on_all_nodes(root)


class _Runner:
    """The driver's side: which steps are ready, which are with Ray, and what came of those that are back."""

    def __init__(
        self,
        due: list[Step],
        root: str | Path,
        options: dict[str, dict[str, Any]],
        bar: Any,
        patience: float,
        spoken: Callable[[str], str],
    ) -> None:
        self._due, self._root, self._options, self._bar = due, root, options, bar
        self._numbers = numbers = {step.name: number for number, step in enumerate(due)}
        self._order = TopologicalSorter(
            {step.name: [needed.name for needed in step.inputs.values() if needed.name in numbers] for step in due}
        )
        self._order.prepare()
        self._task = ray.remote(_run)
        self._at_work = beside_driver(_AtWork)
        self._working: list[str] = []
        self._spoken, self._work, self._ended = spoken, Work(step.name for step in due), 0
        self._waiting = Waiting(bar.desc, patience, self._waits)
        self._ready: list[int] = []
        self._running: dict[Any, str] = {}
        self._failure: Exception | None = None
        self._by_other_code = 0
        self._shown = 0.0

    def run(self) -> None:
        """Run all that can be run; raise the first failure when the rest is done."""
        try:
            while self._submit_ready():
                finished, _ = ray.wait(list(self._running), timeout=_SECONDS_BETWEEN_LOOKS)
                for task in finished:
                    self._take(task)
                self._show()
                self._waiting.look()
            self._bar.set_postfix_str(self._count())
        finally:
            self._cancel_running()
        if self._by_other_code:
            self._say(
                f"{self._by_other_code} steps were run by other code than this process has: isoenergy was changed "
                f"meanwhile, or nodes have another version; the next run does them again"
            )
        if self._failure is not None:
            raise self._failure

    def _submit_ready(self) -> bool:
        """Give Ray what it may begin, in the order of the plan; return whether anything is running."""
        for name in self._order.get_ready():
            heappush(self._ready, self._numbers[name])
        while self._ready and len(self._running) < _IN_FLIGHT:
            step = self._due[heappop(self._ready)]
            asked = self._options[step.name]
            task = self._task.options(name=step.name, **asked).remote(
                step.fixed(self._root), asked["num_cpus"], self._at_work
            )
            self._running[task] = step.name
        return bool(self._running)

    def _take(self, task: Any) -> None:
        """Note what came of a task that has ended."""
        name = self._running.pop(task)
        try:
            code, seconds = ray.get(task)
        except Exception as error:  # whatever a step raises is kept for the end: others go on
            if self._failure is None:
                self._failure = _failure(name, error)
                self._say(f"step {name} failed; those that do not need it go on")
            return
        self._by_other_code += code != code_version(self._due[self._numbers[name]].function.__module__)
        self._order.done(name)
        self._work.done(name, seconds)
        self._ended += 1
        self._bar.n = 1.0 if self._ended == len(self._due) else self._work.share

    def _show(self) -> None:
        if time.monotonic() - self._shown > _SECONDS_BETWEEN_LOOKS:
            self._shown = time.monotonic()
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            nodes: dict[str, str] = ray.get(self._at_work.nodes.remote())
            self._working = sorted(name for name, node in nodes.items() if node in alive)
            at_work = _in_brief(list(map(self._spoken, self._working)))
            self._bar.set_postfix_str(f"{self._count()}{'; ' * bool(at_work)}{at_work}")

    def _count(self) -> str:
        return f"{self._ended} of {len(self._due)} steps"

    def _waits(self) -> str:
        """Return what the first step in line asks for, if none is at work."""
        if self._working or not self._running:
            return ""
        asked = self._options[next(iter(self._running.values()))]
        amounts = {"CPU": asked["num_cpus"], "memory": asked.get("memory")}
        text = ", ".join(f"{kind}: {amount:g}" for kind, amount in amounts.items() if amount)
        return f"{{{text}}} (none of {len(self._running)} steps that could run does)"

    def _cancel_running(self) -> None:
        for task in self._running:
            ray.cancel(task, force=True)
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=_SECONDS_TO_END)

    def _say(self, line: str) -> None:
        tqdm.write(f"{self._bar.desc}: {line}", file=sys.stderr)


class _AtWork:
    """Knows on which nodes steps were begun and not ended."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}

    def begin(self, name: str, node: str) -> None:
        self._nodes[name] = node

    def end(self, name: str) -> None:
        self._nodes.pop(name, None)

    def nodes(self) -> dict[str, str]:
        return self._nodes


def _run(step: FixedStep, cpus: float, at_work: Any) -> tuple[str, float]:
    """Return which code made the result, and in how many seconds."""
    started = time.monotonic()
    os.environ.setdefault(*_KERNELS)  # oneDNN reads it when it is first used
    at_work.begin.remote(step.name, ray.get_runtime_context().get_node_id())
    try:
        with _threads(max(1, int(cpus))):
            execute(step)
    finally:
        at_work.end.remote(step.name)
    _give_back_memory()
    return code_version(step.function.__module__), time.monotonic() - started


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


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
    """Return freed memory to the system if it is much: a worker that is used again would keep the most of any step.

    A little is kept: to have it faulted in again takes as long as many a step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim") and _unused_bytes(library) > _MOST_UNUSED:  # glibc has it
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


def _failure(name: str, error: Exception) -> Exception:
    """Return what `execute` raised, as it would be raised here; Ray's own words on a step that was lost."""
    failure = getattr(error, "cause", None)
    if not isinstance(failure, InputError | StepError):
        failure = StepError(f"step {name}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _in_brief(names: Iterable[str]) -> str:
    groups = [
        f"{_fitting(group)} ×{len(parts)}" if len(parts) > 1 else _fitting(parts[0])
        for group, parts in grouped(names).items()
    ]
    more = len(groups) - _NAMES_IN_BAR
    return ", ".join(groups[:_NAMES_IN_BAR]) + (f" and {more} more" if more > 0 else "")


def _fitting(name: str) -> str:
    """Cut a name that is too long: words end in what a step is of, a path in what it does."""
    if len(name) <= _LETTERS_IN_BAR:
        return name
    return f"{name[: _LETTERS_IN_BAR - 1].rstrip()}…" if " " in name else f"…{name[1 - _LETTERS_IN_BAR :]}"
