"""Where the boxes of a graph go: columns by depth, rows so that few arrows cross."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHARED = "shared"
"""The band of the steps whose names have no slash."""
_SWEEPS = 12


@dataclass(eq=False)
class Place:
    """A box; the name of a box in another band, whence an arrow comes; or, with neither, where an arrow passes."""

    band: str
    column: int
    node: Mapping[str, Any] | None = None
    text: str = ""
    row: float = 0.0
    before: list["Place"] = field(default_factory=list)
    after: list["Place"] = field(default_factory=list)


def band_of(name: str) -> str:
    """Return what stands before the first slash of a step's name."""
    return name.partition("/")[0] if "/" in name else SHARED


def direct_inputs(by_name: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return each node's inputs without those that another of its inputs needs.

    Raises ValueError if there is no node, or an input that is none.
    """
    if not by_name:
        raise ValueError("there is no step to draw")
    needed: dict[str, set[str]] = {}

    def all_needed(name: str) -> set[str]:
        if name not in by_name:
            raise ValueError(f"{name} is an input of a step, and not among the steps")
        if name not in needed:
            direct = by_name[name]["inputs"]
            needed[name] = set(direct).union(*(all_needed(other) for other in direct))
        return needed[name]

    for name in by_name:
        all_needed(name)
    return {
        name: [i for i in node["inputs"] if not any(i in needed[other] for other in node["inputs"])]
        for name, node in by_name.items()
    }


def columns_of(inputs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return how many steps come before each, at the most."""
    columns: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in columns:
            columns[name] = 1 + max((column(other) for other in inputs[name]), default=-1)
        return columns[name]

    for name in inputs:
        column(name)
    return columns


def with_passages(boxes: dict[str, Place], inputs: Mapping[str, Iterable[str]]) -> list[Place]:
    """Join the boxes, by places in the columns that an arrow passes; arrows from one box share them."""
    places = list(boxes.values())
    passages: dict[tuple[str, str, int], Place] = {}

    def passage(source: str, band: str, column: int, text: str = "") -> Place:
        key = source, band, column
        if key not in passages:
            passages[key] = Place(band, column, text=text)
            places.append(passages[key])
        return passages[key]

    for name, needed in inputs.items():
        end = boxes[name]
        for text in _elsewhere([other for other in needed if boxes[other].band != end.band]):
            _join(passage(text, end.band, end.column - 1, text), end)
        for other in (other for other in needed if boxes[other].band == end.band):
            at = boxes[other]
            for column in range(at.column + 1, end.column):
                following = passage(other, end.band, column)
                if following not in at.after:
                    _join(at, following)
                at = following
            _join(at, end)
    return places


def _elsewhere(names: Sequence[str]) -> list[str]:
    """Return what names of steps in other bands say in short: those that differ by the band alone are one."""
    by_step: dict[str, list[str]] = {}
    for name in names:
        by_step.setdefault(in_band(name), []).append(name)
    return [f"{step} of {len(its)} SAEs" if len(its) > 1 else its[0] for step, its in by_step.items()]


def in_band(name: str) -> str:
    """Return what a step is called in its band."""
    return name.partition("/")[2] or name


def _join(before: Place, after: Place) -> None:
    before.after.append(after)
    after.before.append(before)


def order_rows(bands: Mapping[str, list[Place]]) -> None:
    """Give each place a row of its band so that few arrows cross: to where its neighbours are, to and fro."""
    depth = 1 + max(place.column for places in bands.values() for place in places)
    for places in bands.values():
        tallest = max(sum(place.column == c for place in places) for c in range(depth))
        for column in range(depth):
            _spread([place for place in places if place.column == column], tallest)
        for sweep in range(_SWEEPS):
            forth = sweep % 2 == 0
            for column in range(depth) if forth else reversed(range(depth)):
                stack = [place for place in places if place.column == column]
                wanted = {id(place): _wanted(place, forth) for place in stack}
                stack.sort(key=lambda place: (wanted[id(place)], place.row))
                _spread(stack, tallest)


def _wanted(place: Place, forth: bool) -> float:
    beside = [other for other in (place.before if forth else place.after) if other.band == place.band]
    return sum(other.row for other in beside) / len(beside) if beside else place.row


def _spread(stack: Sequence[Place], tallest: int) -> None:
    for row, place in enumerate(stack):
        place.row = row + (tallest - len(stack)) / 2
