"""A graph of cached steps: what has to be run, and running it in this process."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from isoenergy.errors import InputError
from workflows.step import PlannedStep, Step, StepFunction, code_version, grouped
from workflows.step_execution import Made, StepError, alone_in, execute, read_record
from workflows.step_table import GraphNode, describe, graph

__all__ = [
    "GraphNode",
    "PlannedStep",
    "Step",
    "StepError",
    "StepFunction",
    "code_version",
    "describe",
    "graph",
    "plan",
    "result",
    "run_here",
    "run_step",
]


def plan(
    targets: Iterable[Step], root: Path, force: Collection[str] = (), only: Collection[str] = ()
) -> list[PlannedStep]:
    """Order the steps that `targets` need, inputs first.

    A step is due if it is not done, if other code or another making of its inputs made what is there, if it is forced,
    or if it follows a due one.

    root: folder with the results.
    force: steps to do again, by name, name of a map (all its parts) or shell pattern, such as `*/geometry`.
    only: likewise, what to plan, with what it needs; all if empty.

    Raises InputError if nothing is called like one of `force` or `only`.
    """
    steps = _ordered(targets)
    if only:
        chosen = _matching(only, steps)
        steps = _ordered(step for name, step in steps.items() if name in chosen)
    forced = _matching(force, steps)
    made = {name: Made.of(step.folder(root)) for name, step in steps.items()}
    due: dict[str, bool] = {}
    for name, step in steps.items():
        due[name] = name in forced or any(due[n.name] for n in step.inputs.values()) or not _is_current(step, made)
    return [PlannedStep(step, due[name], _seconds(made[name], due[name])) for name, step in steps.items()]


def run_step(step: Step, root: Path) -> str:
    """Run a step whose inputs are done; return its name."""
    execute(step.fixed(root))
    return step.name


def result(step: Step, root: Path) -> dict[str, Any]:
    """Return the JSON result of a step that is done."""
    return read_record(step.folder(root))["result"]


def run_here(planned: Iterable[PlannedStep], root: Path) -> None:
    """Run what is due, one after the other, in this process.

    A step that fails keeps those that need it from being run; the others are finished before its error is raised.

    Raises InputError if another run is at work in `root`.
    """
    due = [item.step for item in planned if item.due]
    if not due:
        return
    failure: Exception | None = None
    lost: set[str] = set()
    with alone_in(root):
        for step in due:
            if lost.intersection(needed.name for needed in step.inputs.values()):
                lost.add(step.name)
                continue
            try:
                execute(step.fixed(root))
            except (InputError, StepError) as error:
                lost.add(step.name)
                failure = failure or error
    if failure is not None:
        raise failure


def _ordered(targets: Iterable[Step]) -> dict[str, Step]:
    """Return the targets and all that they need by name, inputs first."""
    order: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.name in order:
            if order[step.name] is not step and order[step.name].fingerprint != step.fingerprint:
                raise ValueError(f"two different steps are called {step.name}")
            return
        for needed in step.inputs.values():
            visit(needed)
        order[step.name] = step

    for target in targets:
        visit(target)
    return order


def _matching(patterns: Collection[str], names: Collection[str]) -> set[str]:
    groups = grouped(names)
    matching = set()
    for pattern in patterns:
        chosen = {
            name
            for group, members in groups.items()
            for name in members
            if pattern in (name, group) or fnmatchcase(name, pattern) or fnmatchcase(group, pattern)
        }
        if not chosen:
            there = ", ".join(
                members[0] if len(members) == 1 else f"{members[0]} … {members[-1].rpartition('/')[2]}"
                for members in groups.values()
            )
            raise InputError(f"no step is called {pattern}; the steps are {there}")
        matching |= chosen
    return matching


def _is_current(step: Step, made: Mapping[str, Made | None]) -> bool:
    """Return whether this code made the result, and of the inputs that are there."""
    own = made[step.name]
    if own is None or own.code != code_version():
        return False
    inputs = {name: made[needed.name] for name, needed in step.inputs.items()}
    return own.inputs == {name: its.started for name, its in inputs.items() if its is not None}


def _seconds(made: Made | None, due: bool) -> float | None:
    return None if due or made is None else made.seconds
