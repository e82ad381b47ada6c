"""A graph of cached steps: what has to be run, and running it in this process."""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from isoenergy.errors import InputError
from isoenergy.settings.differences import differing_fields
from isoenergy.storage.files import last_part, open_filesystem
from workflows.steps.step import PlannedStep, Step, StepFunction, code_version, grouped
from workflows.steps.step_execution import Made, StepError, execute
from workflows.steps.step_storage import records, storage_at
from workflows.steps.step_table import GraphNode, describe, graph

__all__ = [
    "GraphNode",
    "PlannedStep",
    "Step",
    "StepError",
    "StepFunction",
    "code_version",
    "describe",
    "files",
    "graph",
    "other_config",
    "plan",
    "result",
    "run_here",
    "run_step",
]


def plan(
    targets: Iterable[Step], root: str | Path, force: Collection[str] = (), only: Collection[str] = ()
) -> list[PlannedStep]:
    """Order the steps that `targets` need, inputs first.

    A step is due if it is not done, if other code or another making of its inputs made what is there, if it is forced,
    or if it follows a due one.

    root: folder or fsspec URL with the results.
    force: steps to do again, by name, name of a map (all its parts) or shell pattern, such as `*/geometry`.
    only: likewise, what to plan, with what it needs; all if empty.

    Raises InputError if nothing is called like one of `force` or `only`.
    """
    steps = _ordered(targets)
    if only:
        chosen = _matching(only, steps)
        steps = _ordered(step for name, step in steps.items() if name in chosen)
    forced = _matching(force, steps)
    found = records(storage_at(root), [step.folder for step in steps.values()])
    made = {name: Made.of(record) for name, record in zip(steps, found, strict=True)}
    due: dict[str, bool] = {}
    for name, step in steps.items():
        due[name] = name in forced or any(due[n.name] for n in step.inputs.values()) or not _is_current(step, made)
    return [PlannedStep(step, due[name], _seconds(made[name], due[name])) for name, step in steps.items()]


def run_step(step: Step, root: str | Path) -> str:
    """Run a step whose inputs are done; return its name."""
    execute(step.fixed(root))
    return step.name


def result(step: Step, root: str | Path) -> dict[str, Any]:
    """Return the JSON result of a step that is done."""
    found: dict[str, Any] = storage_at(root).record(step.folder)["result"]
    return found


def files(step: Step, root: str | Path) -> str:
    """Return where the files of a step that is done lie, below `root`."""
    return storage_at(root).files(step.folder)


def other_config(step: Step, root: str | Path) -> str:
    """Return in what the newest result of a step of this name differs from it in config, as text.

    Nothing, if the root has a result of this config, by whichever code, or none of that name.
    """
    filesystem, path = open_filesystem(str(root))
    try:
        there = [last_part(entry) for entry in filesystem.ls(path, detail=False)]
    except (FileNotFoundError, NotADirectoryError):
        return ""
    beginning = step.folder.removesuffix(step.fingerprint)
    found = records(storage_at(root), [folder for folder in there if folder.startswith(beginning)])
    own = [record for record in found if record and record["name"] == step.name and Made.of(record)]
    here = step.fixed(root).identity
    if not own or any(record["config"] == here for record in own):
        return ""
    return differing_fields(max(own, key=lambda record: record["provenance"]["started"])["config"], here)


def run_here(planned: Iterable[PlannedStep], root: str | Path) -> None:
    """Run what is due, one after the other, in this process.

    A step that fails keeps those that need it from being run; the others are finished before its error is raised.

    Raises InputError if another run is at work in `root`, which an object store does not tell.
    """
    due = [item.step for item in planned if item.due]
    if not due:
        return
    failure: Exception | None = None
    lost: set[str] = set()
    storage = storage_at(root)
    with storage.alone():
        try:
            for step in due:
                if lost.intersection(needed.name for needed in step.inputs.values()):
                    lost.add(step.name)
                    continue
                try:
                    execute(step.fixed(root))
                except (InputError, StepError) as error:
                    lost.add(step.name)
                    failure = failure or error
        finally:
            storage.forget()
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
    if own is None or own.code != code_version(step.function.__module__):
        return False
    inputs = {name: made[needed.name] for name, needed in step.inputs.items()}
    return own.inputs == {name: its.started for name, its in inputs.items() if its is not None}


def _seconds(made: Made | None, due: bool) -> float | None:
    return None if due or made is None else made.seconds
