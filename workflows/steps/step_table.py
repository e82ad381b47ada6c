"""A plan of steps for people: a table before it is run, a graph for the report afterwards."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflows.steps.step import PlannedStep, Step, grouped
from workflows.steps.step_storage import records, storage_at

_WIDTH = 120
_WAITS_FOR, _SECONDS = 2, 3
_LEAST_ROOM = 20


@dataclass(frozen=True)
class GraphNode:
    """A step, or all parts of a map, after a run."""

    name: str
    """Without the number of the part."""
    parts: int
    inputs: tuple[str, ...]
    """Names of the nodes that it is made from."""
    function: str
    """What makes it, with its module."""
    state: str
    """`ran` in this run, as any part of it did, or `cached`."""
    seconds: float
    """What it took when it was run, all parts together."""
    cpus: float
    gpus: float
    memory: int
    """Bytes; 0: not counted."""


def describe(planned: Sequence[PlannedStep]) -> str:
    """Return the plan as a table: step, resources, what it waits for, what it took, and its state.

    The parts of a map are one line. The state is `run`, `done` or, of a map, `3 of 32 done`.
    """
    rows = []
    for name, items, inputs in _nodes(planned):
        done = [item for item in items if not item.due]
        seconds = [item.seconds for item in done if item.seconds is not None]
        rows.append(
            (
                f"{name} ×{len(items)}" if len(items) > 1 else name,
                _resources([item.step for item in items]),
                f"after {', '.join(_beside(other, name) for other in inputs)}" if inputs else "",
                f"{sum(seconds):,.1f} s" if seconds else "",
                "done" if len(done) == len(items) else f"{len(done)} of {len(items)} done" if done else "run",
            )
        )
    return "\n".join(_fitting(rows, shutil.get_terminal_size((_WIDTH, 24)).columns))


def _fitting(rows: Sequence[Sequence[str]], most: int) -> Iterator[str]:
    """Yield a table's lines, in `most` columns as far as that goes: what a step waits for goes on below it."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    others = sum(width + 2 for number, width in enumerate(widths) if width and number != _WAITS_FOR)
    room = max(most - others, _LEAST_ROOM)
    for row in rows:
        after, *more = textwrap.wrap(row[_WAITS_FOR], room, break_long_words=False, break_on_hyphens=False) or [""]
        widest = min(widths[_WAITS_FOR], room)
        cells = [
            cell.rjust(width) if number == _SECONDS else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        cells[_WAITS_FOR] = after.ljust(widest)
        yield "  ".join(cell for cell, width in zip(cells, widths, strict=True) if width).rstrip()
        indent = " " * (widths[0] + widths[1] + 4)
        yield from (f"{indent}{line}" for line in more)


def graph(planned: Sequence[PlannedStep], root: str | Path) -> list[GraphNode]:
    """Return the graph of a plan that has been run, inputs first; `dataclasses.asdict` makes JSON of its nodes.

    Raises FileNotFoundError if a step is not done.
    """
    seconds = {}
    found = records(storage_at(root), [item.step.folder for item in planned])
    for item, record in zip(planned, found, strict=True):
        if record is None:
            raise FileNotFoundError(f"step {item.step.name} is not done in {root}")
        seconds[item.step.name] = record["provenance"]["seconds"]
    return [
        GraphNode(
            name=name,
            parts=len(items),
            inputs=tuple(inputs),
            function=items[0].step.made_by,
            state="ran" if any(item.due for item in items) else "cached",
            seconds=sum(seconds[item.step.name] for item in items),
            cpus=max(item.step.cpus for item in items),
            gpus=max(item.step.gpus for item in items),
            memory=max(item.step.memory for item in items),
        )
        for name, items, inputs in _nodes(planned)
    ]


def _nodes(planned: Sequence[PlannedStep]) -> list[tuple[str, list[PlannedStep], list[str]]]:
    """Return each group of steps with its name and the names of the groups that it needs."""
    by_name = {item.step.name: item for item in planned}
    groups = grouped(by_name)
    group_of = {name: group for group, names in groups.items() for name in names}
    nodes = []
    for group, names in groups.items():
        items = [by_name[name] for name in names]
        needed = dict.fromkeys(group_of[n.name] for item in items for n in item.step.inputs.values())
        nodes.append((group, items, [other for other in needed if other != group]))
    return nodes


def _resources(steps: Sequence[Step]) -> str:
    cpus, gpus = max(step.cpus for step in steps), max(step.gpus for step in steps)
    memory, if_any = max(step.memory for step in steps), max(step.gpus_if_any for step in steps)
    asked = [f"{cpus:g} CPU{'s' * (cpus > 1)}"]
    asked += [f"{gpus:g} GPU{'s' * (gpus > 1)}"] if gpus else []
    asked += [f"{if_any:g} GPU{'s' * (if_any > 1)} if any"] if if_any > gpus else []
    asked += [f"{memory / 2**30:.1f} GiB"] if memory else []
    return ", ".join(asked)


def _beside(name: str, other: str) -> str:
    """Return `name` without the folders that it shares with `other`."""
    folder = other.rpartition("/")[0]
    return name.removeprefix(f"{folder}/") if folder else name
