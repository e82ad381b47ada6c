"""The steps of an evaluation as a table: what made each, what it waited for, and how long it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoenergy.durations import duration

_WITHOUT_GROUP = "shared"
_STATES = {"ran": "ran", "cached": "was there already"}


@dataclass(frozen=True)
class StepRow:
    """A step, or all parts of a map."""

    name: str
    """Without its group."""
    parts: int
    function: str
    """What makes it, below `isoenergy`; empty for an evaluation that does not say."""
    waits_for: Sequence[str]
    """Steps of the same group by their names there, others by their whole names."""
    time: str
    share: float
    """Of the time of the step that took longest, in percent."""
    state: str


def step_rows(nodes: Sequence[Mapping[str, Any]]) -> dict[str, list[StepRow]]:
    """Return a row for each step, in the order given, by what stands before the first slash of its name.

    nodes: `name`, `parts`, `inputs` (names), `state` (`ran` or `cached`), `seconds` and `function` of each. A step is
    not said to wait for what another that it waits for needs already.

    Raises ValueError if an input is not among the nodes.
    """
    longest = max((node["seconds"] for node in nodes), default=0.0)
    direct = _direct_inputs({node["name"]: node["inputs"] for node in nodes})
    groups: dict[str, list[StepRow]] = {}
    for node in nodes:
        group = _group(node["name"])
        row = StepRow(
            name=_in_group(node["name"]),
            parts=node["parts"],
            function=node.get("function", "").removeprefix("isoenergy."),
            waits_for=_named_from(group, direct[node["name"]]),
            time=duration(node["seconds"]),
            share=100 * node["seconds"] / longest if longest else 0.0,
            state=_STATES[node["state"]],
        )
        groups.setdefault(group, []).append(row)
    return groups


def _group(name: str) -> str:
    return name.partition("/")[0] if "/" in name else _WITHOUT_GROUP


def _in_group(name: str) -> str:
    return name.partition("/")[2] or name


def _named_from(group: str, names: Sequence[str]) -> list[str]:
    """Return names as they are told in a group: steps of other groups that differ by the group alone are one."""
    elsewhere: dict[str, list[str]] = {}
    for name in names:
        if _group(name) != group:
            elsewhere.setdefault(_in_group(name), []).append(name)
    return [_in_group(name) for name in names if _group(name) == group] + [
        f"{step} of {len(its)} SAEs" if len(its) > 1 else its[0] for step, its in elsewhere.items()
    ]


def _direct_inputs(inputs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return each step's inputs without those that another of its inputs needs."""
    needed: dict[str, set[str]] = {}

    def all_needed(name: str) -> set[str]:
        if name not in inputs:
            raise ValueError(f"{name} is an input of a step, and not among the steps")
        if name not in needed:
            needed[name] = set(inputs[name]).union(*(all_needed(other) for other in inputs[name]))
        return needed[name]

    return {
        name: [one for one in direct if not any(one in all_needed(other) for other in direct)]
        for name, direct in inputs.items()
    }
