"""What closing the gap costs or gains at recall: every variant, and the sweeps."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from isoenergy.report.figures.label_placement import Box, label_points
from isoenergy.report.figures.shared import COLOURS, error_bars, plain
from isoenergy.report.intervals import Interval, is_known
from isoenergy.report.saes import Sae
from isoenergy.report.tables.rivals import BIMODAL, GAPS, IN_BATCHES, NUMBERS, R1, RELATIVE_GAP, VARIANTS

_ORIGINAL, _REBUILT = "#2b8a6e", "#d9822b"
_STYLES = {
    BIMODAL: ("D", COLOURS["bimodal"]),
    "matched_removal": ("s", "#888888"),
}
_KEY_LINE = 0.82 / len(VARIANTS)
"""Height of a line of the key, of which the legend below takes the rest."""
_SWEEPS = {
    "midpoint_shift": "midpoint shift, by share of the gap",
    "without_gap_dimensions": "without the k widest gap dimensions, by k",
}


def gap_against_recall(original: Mapping[str, Any], sae: Sae, label: str) -> Figure:
    """Draw the relative gap against R@1, a numbered point a variant, with the intervals of both.

    What retrieves next to nothing, the control of unimodal atoms alone, would squeeze the others and is left out.
    """
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    figure.suptitle(f"{label}: what closing the gap does to retrieval", fontsize=11)
    axes, key = figure.subplots(1, 2, width_ratios=(3, 1))
    shown = [name for name in VARIANTS if name != "unimodal"]
    points, numbers, bars = [], [], []
    for part, colour in ((original, _ORIGINAL), (sae["results"], _REBUILT)):
        for name in (name for name in shown if name in part["retrieval"]):
            x, y = RELATIVE_GAP.of(part, name), R1.of(part, name)
            bars += _point(axes, x, y, *_STYLES.get(name, ("o", colour)))
            points.append((x["value"], y["value"]))
            numbers.append(str(NUMBERS[name]))
    axes.margins(0.08)
    axes.set(xlabel="relative modality gap, RMG (left is better)", ylabel="R@1, full gallery (up is better)")
    plain(axes)
    _key(key, shown)
    label_points(axes, points, numbers, bars)
    return figure


def recall_along_sweeps(original: Mapping[str, Any], sae: Sae, label: str) -> Figure:
    """Draw the difference in means against R@1 in batches along each sweep, beside removing the unimodal atoms."""
    figure = Figure(figsize=(10.4, 4.8), layout="constrained")
    figure.suptitle(f"{label}: how far to shift, how many dimensions to remove", fontsize=11)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    labels = [_sweep(axes, sweep, original, sae["results"]) for axes, sweep in zip(panels, _SWEEPS, strict=True)]
    for axes, title in zip(panels, _SWEEPS.values(), strict=True):
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="difference in means (left is better)")
        axes.margins(0.1)
        plain(axes)
    panels[0].set_ylabel(f"{IN_BATCHES.name} (up is better)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    for axes, wanted in zip(panels, labels, strict=True):  # the panels share their limits: final when all is drawn
        label_points(axes, *wanted)
    return figure


def _sweep(
    axes: Axes, sweep: str, original: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[list[tuple[float, float]], list[str], list[Box]]:
    """Draw the curves of a sweep, and the removal beside them; return its points, their steps, and bars as boxes."""
    gap = GAPS[0]
    points: list[tuple[float, float]] = []
    steps: list[str] = []
    bars: list[Box] = []
    for part, start, colour, what in (
        (original, "original", _ORIGINAL, "the embeddings themselves"),
        (results, "reconstructed", _REBUILT, "rebuilt by the SAE"),
    ):
        x, y = (part[kind]["sweeps"].get(sweep, {}) for kind in ("geometry", "retrieval"))
        measured = [(gap.of(part, start), IN_BATCHES.of(part, start)), *((x[step], y[step]) for step in x)]
        curve = [(a["value"], b["value"]) for a, b in measured]
        axes.plot(*zip(*curve, strict=True), "-", color=colour, linewidth=1.2, label=what)
        for gap_and_recall in measured:
            bars += _point(axes, *gap_and_recall, "o", colour)
        points += curve
        steps += ["0", *x]
    marker, colour = _STYLES[BIMODAL]
    bars += _point(axes, gap.of(results, BIMODAL), IN_BATCHES.of(results, BIMODAL), marker, colour)
    axes.plot([], [], marker, color=colour, label=f"rebuilt, {VARIANTS[BIMODAL][0]}")
    return points, steps, bars


def _key(axes: Axes, shown: Sequence[str]) -> None:
    """Say beside the points what their numbers and marks are."""
    axes.axis("off")
    for line, name in enumerate(shown):
        axes.text(0.08, 1 - _KEY_LINE * line, str(NUMBERS[name]), fontsize=8.5, ha="right", va="top")
        axes.text(0.13, 1 - _KEY_LINE * line, VARIANTS[name][0], fontsize=8.5, va="top")
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=what)
        for (marker, colour), what in (
            (("o", _ORIGINAL), "the embeddings themselves"),
            (("o", _REBUILT), "rebuilt by the SAE"),
            (_STYLES[BIMODAL], f"rebuilt, {VARIANTS[BIMODAL][0]}"),
            (_STYLES["matched_removal"], "control"),
        )
    ]
    axes.legend(handles=handles, frameon=False, fontsize=8.5, loc="lower left", borderpad=0)


def _point(axes: Axes, x: Interval, y: Interval, marker: str, colour: str) -> list[Box]:
    """Draw a point with the bars that it has; return these as boxes, left, bottom, right, top."""
    x_bar, y_bar = (error_bars([each]) if is_known(each) else None for each in (x, y))
    style: dict[str, Any] = {"marker": marker, "color": colour, "markersize": 5, "linewidth": 0.8, "zorder": 3}
    axes.errorbar(x["value"], y["value"], xerr=x_bar, yerr=y_bar, **style)
    boxes = [(x["low"], y["value"], x["high"], y["value"]), (x["value"], y["low"], x["value"], y["high"])]
    return [box for box, its in zip(boxes, (x, y), strict=True) if is_known(its)]
