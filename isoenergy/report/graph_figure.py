"""The graph of an evaluation's steps as a figure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

_COLOURS = {"ran": ("#ece6f3", "#6a4c93"), "cached": ("#f4f4f4", "#999999")}
_LABELS = {"ran": "ran", "cached": "was there already"}
_ARROW = "#888888"
_SHARED = "shared"
_SWEEPS = 12

# inches, and points for letters
_LETTERS, _SMALL, _TITLE_LETTERS, _BOLD = 8.0, 7.0, 9.0, 1.15
_SMALL_TEXT: dict[str, Any] = {"fontsize": _SMALL, "va": "center", "color": "#555555"}
_BOX_HEIGHT, _ROW, _PADDING, _GAP = 0.38, 0.52, 0.1, 0.62
_MARGIN, _TITLE, _BETWEEN_BANDS, _NARROWEST = 0.16, 0.3, 0.14, 2.0


@dataclass(eq=False)
class _Place:
    """A box; the name of a box in another band, whence an arrow comes; or, with neither, where an arrow passes."""

    band: str
    column: int
    node: Mapping[str, Any] | None = None
    text: str = ""
    row: float = 0.0
    before: list["_Place"] = field(default_factory=list)
    after: list["_Place"] = field(default_factory=list)


def draw_graph(nodes: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw steps as boxes from left to right, with parts and time, coloured by whether they ran or were there already.

    nodes: `name`, `parts`, `inputs` (names), `state` (`ran` or `cached`) and `seconds` of each, in any order. What
    stands before the first slash of a name is a band of its own; steps without one share the first band. An arrow from
    another band starts at the name of its step. An arrow that others already imply is left out.

    Raises ValueError if an input is not among the nodes, or if nothing is.
    """
    by_name = {node["name"]: node for node in nodes}
    inputs = _direct_inputs(by_name)
    columns = _columns(inputs)
    places = _with_passages({n: _Place(_band(n), columns[n], node) for n, node in by_name.items()}, inputs)
    bands: dict[str, list[_Place]] = {}
    for place in sorted(places, key=lambda place: place.band != _SHARED):
        bands.setdefault(place.band, []).append(place)
    _order(bands)

    widths = [
        max(_width(place) for place in places if place.column == column) for column in range(1 + max(columns.values()))
    ]
    lefts = [_MARGIN + _PADDING + sum(widths[:c]) + c * _GAP for c in range(len(widths))]
    titles = max(_inches(band, _TITLE_LETTERS) * _BOLD for band in bands)
    right = max(lefts[-1] + widths[-1], lefts[0] + titles, _NARROWEST) + _PADDING
    tops, y = {}, _MARGIN
    for band, its in bands.items():
        tops[band] = y
        y += _TITLE + _ROW * (1 + max(place.row for place in its)) + _BETWEEN_BANDS
    height = y + _TITLE
    figure, axes = _canvas(right + _MARGIN, height)
    for band, top in tops.items():
        size = _TITLE + _ROW * (1 + max(place.row for place in bands[band]))
        axes.add_patch(Rectangle((_MARGIN, top), right - _MARGIN, size, color="#fafafa", linewidth=0, zorder=0))
        axes.text(
            _MARGIN + _PADDING,
            top + 0.17,
            band,
            fontsize=_TITLE_LETTERS,
            fontweight="bold",
            color="#444444",
            va="center",
        )

    def middle(place: _Place) -> float:
        return tops[place.band] + _TITLE + _ROW * (place.row + 0.5) - 0.04

    for place in places:
        left, width = lefts[place.column], widths[place.column]
        if place.node is not None:
            _box(axes, place.node, left, middle(place), width)
        elif place.text:
            axes.text(
                left + width - 0.04, middle(place), place.text, fontsize=_SMALL, style="italic", ha="right", va="center"
            )
        else:
            axes.plot([left, left + width], [middle(place)] * 2, color=_ARROW, linewidth=0.8, zorder=1)
        for after in place.after:
            start, end = (left + width, middle(place)), (lefts[after.column], middle(after))
            _arrow(axes, start, end, head=after.node is not None)
    _legend(axes, height - _TITLE / 2 - 0.02, {node["state"] for node in nodes})
    return figure


def _band(name: str) -> str:
    return name.partition("/")[0] if "/" in name else _SHARED


def _direct_inputs(by_name: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return each node's inputs without those that another of its inputs needs."""
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


def _columns(inputs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return how many steps come before each, at the most."""
    columns: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in columns:
            columns[name] = 1 + max((column(other) for other in inputs[name]), default=-1)
        return columns[name]

    for name in inputs:
        column(name)
    return columns


def _with_passages(boxes: dict[str, _Place], inputs: Mapping[str, Iterable[str]]) -> list[_Place]:
    """Join the boxes, by places in the columns that an arrow passes; arrows from one box share them."""
    places = list(boxes.values())
    passages: dict[tuple[str, str, int], _Place] = {}

    def passage(source: str, band: str, column: int, text: str = "") -> _Place:
        key = source, band, column
        if key not in passages:
            passages[key] = _Place(band, column, text=text)
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
        by_step.setdefault(_in_band(name), []).append(name)
    return [f"{step} of {len(its)} SAEs" if len(its) > 1 else its[0] for step, its in by_step.items()]


def _in_band(name: str) -> str:
    return name.partition("/")[2] or name


def _join(before: _Place, after: _Place) -> None:
    before.after.append(after)
    after.before.append(before)


def _order(bands: Mapping[str, list[_Place]]) -> None:
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


def _wanted(place: _Place, forth: bool) -> float:
    beside = [other for other in (place.before if forth else place.after) if other.band == place.band]
    return sum(other.row for other in beside) / len(beside) if beside else place.row


def _spread(stack: Sequence[_Place], tallest: int) -> None:
    for row, place in enumerate(stack):
        place.row = row + (tallest - len(stack)) / 2


def _lines(node: Mapping[str, Any]) -> tuple[str, str]:
    return _in_band(node["name"]), f"×{node['parts']:,} · {_time(node['seconds'])}" if node["parts"] > 1 else _time(
        node["seconds"]
    )


def _time(seconds: float) -> str:
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _width(place: _Place) -> float:
    if place.node is None:
        return _inches(place.text, _SMALL) if place.text else 0.0
    name, time = _lines(place.node)
    return max(_inches(name, _LETTERS), _inches(time, _SMALL)) + 2 * _PADDING


def _inches(text: str, size: float) -> float:
    return TextPath((0, 0), text, size=size).get_extents().width / 72


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _box(axes: Axes, node: Mapping[str, Any], left: float, middle: float, width: float) -> None:
    face, edge = _COLOURS[node["state"]]
    shape = "round,pad=0,rounding_size=0.05"
    for shift in (0.05, 0.0) if node["parts"] > 1 else (0.0,):
        corner = left + shift, middle - _BOX_HEIGHT / 2 - shift
        axes.add_patch(
            FancyBboxPatch(corner, width, _BOX_HEIGHT, boxstyle=shape, facecolor=face, edgecolor=edge, zorder=3)
        )
    name, time = _lines(node)
    axes.text(left + width / 2, middle - 0.075, name, fontsize=_LETTERS, ha="center", va="center", zorder=4)
    axes.text(
        left + width / 2, middle + 0.085, time, fontsize=_SMALL, ha="center", va="center", color="#555555", zorder=4
    )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], head: bool) -> None:
    (x0, y0), (x1, y1) = start, end
    tip = x1 - 0.06 if head else x1
    bend = (x0 + x1) / 2
    line = Path([(x0, y0), (bend, y0), (bend, y1), (tip, y1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    axes.add_patch(PathPatch(line, facecolor="none", edgecolor=_ARROW, linewidth=0.8, zorder=1))
    if head:
        triangle = Path([(tip, y1 - 0.03), (x1, y1), (tip, y1 + 0.03), (tip, y1 - 0.03)], closed=True)
        axes.add_patch(PathPatch(triangle, color=_ARROW, linewidth=0, zorder=2))


def _legend(axes: Axes, y: float, states: set[str]) -> None:
    x = _MARGIN + _PADDING
    for state in (state for state in _LABELS if state in states):
        face, edge = _COLOURS[state]
        axes.add_patch(Rectangle((x, y - 0.05), 0.16, 0.1, facecolor=face, edgecolor=edge))
        axes.text(x + 0.22, y, _LABELS[state], **_SMALL_TEXT)
        x += 0.42 + _inches(_LABELS[state], _SMALL)
