"""Running a plan of steps as plain Ray tasks."""

import importlib
from collections.abc import Callable, Sequence
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from isoenergy.errors import InputError
from workflows.cluster.beside_driver import beside_driver
from workflows.cluster.cluster_size import ClusterSize
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Waiting
from workflows.steps.step import FixedStep, PlannedStep, Step
from workflows.steps.step_bucket import StepBucket
from workflows.steps.step_execution import StepError
from workflows.steps.step_placement import place
from workflows.steps.step_progress import StepProgress
from workflows.steps.step_storage import storage_at
from workflows.steps.step_worker import run_in_worker

_BEGUN = 4
"""Workers that are begun before it is known how many steps there are."""
_IN_FLIGHT = 1000
"""Tasks that Ray knows of at a time; looking after each takes time and memory of the driver."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_END = 10.0


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
    with storage.alone(), storage_watched(str(root)), StepProgress(due, what, spoken) as progress:
        try:
            _Runner(due, root, options, progress, what, patience).run()
        finally:
            forget_on_all_nodes(root)


class _Runner:
    """The driver's side: which steps are ready, which are with Ray, and what came of those that are back."""

    def __init__(
        self,
        due: list[Step],
        root: str | Path,
        options: dict[str, dict[str, Any]],
        progress: StepProgress,
        what: str,
        patience: float,
    ) -> None:
        self._due, self._root, self._options, self._progress = due, root, options, progress
        self._numbers = numbers = {step.name: number for number, step in enumerate(due)}
        self._order = TopologicalSorter(
            {step.name: [needed.name for needed in step.inputs.values() if needed.name in numbers] for step in due}
        )
        self._order.prepare()
        self._task = ray.remote(_run)
        self._at_work = beside_driver(_AtWork)
        self._working: list[str] = []
        self._waiting = Waiting(what, patience, self._waits)
        self._ready: list[int] = []
        self._running: dict[Any, str] = {}
        self._failure: Exception | None = None

    def run(self) -> None:
        """Run all that can be run; raise the first failure when the rest is done."""
        try:
            while self._submit_ready():
                finished, _ = ray.wait(list(self._running), timeout=_SECONDS_BETWEEN_LOOKS)
                for task in finished:
                    self._take(task)
                self._progress.show(self._look)
                self._waiting.look()
        finally:
            self._cancel_running()
        self._progress.end()
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
                step.fixed(self._root), asked["num_cpus"], step.memory, self._at_work
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
                self._failure = step_failure(name, error)
                self._progress.say(f"step {name} failed; those that do not need it go on")
            return
        self._order.done(name)
        self._progress.done(name, code, seconds)

    def _look(self) -> list[str]:
        """Return what is at work on nodes that live."""
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        nodes: dict[str, str] = ray.get(self._at_work.nodes.remote())
        self._working = sorted(name for name, node in nodes.items() if node in alive)
        return self._working

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


def _run(step: FixedStep, cpus: float, memory: int, at_work: Any) -> tuple[str, float]:
    """Return which code made the result, and in how many seconds; memory: bytes that the step asks for."""
    at_work.begin.remote(step.name, ray.get_runtime_context().get_node_id())
    try:
        return run_in_worker(step, cpus, memory)
    finally:
        at_work.end.remote(step.name)


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)


def forget_on_all_nodes(root: str | Path) -> None:
    """Have every node remove the copies that its steps worked on, if `root` is an object store."""
    if not isinstance(storage_at(root), StepBucket):
        return
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=0)(_forget)
    tasks = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(root))
        for node in nodes
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS_TO_END)


def _forget(root: str) -> None:
    storage_at(root).forget()


def step_failure(name: str, error: Exception) -> Exception:
    """Return what `execute` raised, as it would be raised here; Ray's own words on a step that was lost."""
    failure = getattr(error, "cause", None)
    if not isinstance(failure, InputError | StepError):
        failure = StepError(f"step {name}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
