"""The graph of an evaluation's steps as a figure."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from isoenergy.report.figures.graph_layout import (
    SHARED,
    Place,
    band_of,
    columns_of,
    direct_inputs,
    in_band,
    order_rows,
    with_passages,
)

_COLOURS = {"ran": ("#ece6f3", "#6a4c93"), "cached": ("#f4f4f4", "#999999")}
_LABELS = {"ran": "ran", "cached": "was there already"}
_ARROW = "#888888"

# inches, and points for letters
_LETTERS, _SMALL, _TITLE_LETTERS, _BOLD = 8.0, 7.0, 9.0, 1.15
_SMALL_TEXT: dict[str, Any] = {"fontsize": _SMALL, "va": "center", "color": "#555555"}
_BOX_HEIGHT, _ROW, _PADDING, _GAP = 0.38, 0.52, 0.1, 0.62
_MARGIN, _TITLE, _BETWEEN_BANDS, _NARROWEST = 0.16, 0.3, 0.14, 2.0


def draw_graph(nodes: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw steps as boxes from left to right, with parts and time, coloured by whether they ran or were there already.

    nodes: `name`, `parts`, `inputs` (names), `state` (`ran` or `cached`) and `seconds` of each, in any order. What
    stands before the first slash of a name is a band of its own; steps without one share the first band. An arrow from
    another band starts at the name of its step. An arrow that others already imply is left out.

    Raises ValueError if an input is not among the nodes, or if nothing is.
    """
    by_name = {node["name"]: node for node in nodes}
    inputs = direct_inputs(by_name)
    columns = columns_of(inputs)
    places = with_passages({n: Place(band_of(n), columns[n], node) for n, node in by_name.items()}, inputs)
    bands: dict[str, list[Place]] = {}
    for place in sorted(places, key=lambda place: place.band != SHARED):
        bands.setdefault(place.band, []).append(place)
    order_rows(bands)

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
        axes.text(lefts[0], top + 0.17, band, size=_TITLE_LETTERS, weight="bold", color="#444444", va="center")

    def middle(place: Place) -> float:
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


def _lines(node: Mapping[str, Any]) -> tuple[str, str]:
    return in_band(node["name"]), f"×{node['parts']:,} · {_time(node['seconds'])}" if node["parts"] > 1 else _time(
        node["seconds"]
    )


def _time(seconds: float) -> str:
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _width(place: Place) -> float:
    if place.node is None:
        return _inches(place.text, _SMALL) if place.text else 0.0
    name, time = _lines(place.node)
    return max(_inches(name, _LETTERS), _inches(time, _SMALL)) + 2 * _PADDING


@cache
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
