"""What closing the gap costs or gains at recall: every variant, and the sweeps."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.label_placement import Box, label_points
from isoenergy.report.figures.shared import COLOURS, SHADES, error_bars, plain
from isoenergy.report.intervals import Interval, is_known
from isoenergy.report.saes import Sae
from isoenergy.report.tables.rivals import (
    BIMODAL,
    CENTRED,
    GAPS,
    IN_BATCHES,
    R1,
    RELATIVE_GAP,
    VARIANTS,
    emptied_of,
    rivals_of,
)

_ORIGINAL, _REBUILT = SHADES[0], SHADES[1]
_STYLES = {
    BIMODAL: ("D", COLOURS["bimodal"]),
    "matched_removal": ("s", "#b9b9c0"),
}
_NOTHING_DONE = ("original", "reconstructed")
_SWEEPS = {
    "midpoint_shift": "midpoint shift, by share of the gap",
    "without_gap_dimensions": "without the k widest gap dimensions, by k",
}


def gap_against_recall(original: Mapping[str, Any], sae: Sae, label: str, narrow: bool = False) -> Figure:
    """Draw the relative gap against R@1, a point a variant, with the intervals of both; some are named.

    What retrieves next to nothing, the control of unimodal atoms alone, would squeeze the others and is left out; so is
    what leaves most rows with nothing. Named: nothing done, whoever has the highest R@1, centring, and the removal of
    the unimodal atoms. narrow: for a phone.
    """
    figure = Figure(figsize=(4.5, 5.6) if narrow else (10.4, 5.4), layout="constrained")
    figure.suptitle(f"{label}: what closing the gap does to retrieval", fontsize=10 if narrow else 11)
    axes = figure.subplots()
    parts = {"the embeddings themselves": (original, _ORIGINAL), "with the SAE": (sae["results"], _REBUILT)}
    winner = max(
        ((R1.of(part, name)["value"], kind, name) for kind, (part, _) in parts.items() for name in rivals_of(part)),
        key=lambda each: -math.inf if math.isnan(each[0]) else each[0],
    )[1:]
    points, titles, bars = [], [], []
    for kind, (part, colour) in parts.items():
        left_out = ("unimodal", *emptied_of(part))
        for name in (name for name in VARIANTS if name in part["retrieval"] and name not in left_out):
            x, y = RELATIVE_GAP.of(part, name), R1.of(part, name)
            bars += _point(axes, x, y, *_STYLES.get(name, ("o", colour)))
            if name in (*_NOTHING_DONE, BIMODAL, CENTRED) or (kind, name) == winner:
                points.append((x["value"], y["value"]))
                titles.append(f"{VARIANTS[name][0]}{' (the winner)' * ((kind, name) == winner)}")
        axes.plot([], [], "o", color=colour, label=kind)
    empty = emptied_of(sae["results"])
    for name, title in ((BIMODAL, f"rebuilt, {VARIANTS[BIMODAL][0]}"), ("matched_removal", "control")):
        if name not in empty:
            axes.plot([], [], _STYLES[name][0], color=_STYLES[name][1], label=title)
    axes.margins(0.14)
    axes.set(xlabel="relative modality gap, RMG (left is better)", ylabel="R@1, full gallery (up is better)")
    plain(axes)
    figure.legend(loc="outside lower center", ncols=1 if narrow else 4, frameon=False, fontsize=8.5)
    label_points(axes, points, titles, bars, size=9.0)
    return figure


def recall_along_sweeps(original: Mapping[str, Any], sae: Sae, label: str, narrow: bool = False) -> Figure:
    """Draw the difference in means against R@1 in batches along each sweep, beside removing the unimodal atoms.

    narrow: for a phone, one panel below the other.
    """
    figure = Figure(figsize=(4.5, 8.2) if narrow else (10.4, 4.8), layout="constrained")
    figure.suptitle(f"{label}: how far to shift, how many dimensions to remove", fontsize=11, wrap=True)
    panels = figure.subplots(*((2, 1) if narrow else (1, 2)), sharex=True, sharey=True)
    labels = [_sweep(axes, sweep, original, sae["results"]) for axes, sweep in zip(panels, _SWEEPS, strict=True)]
    for axes, title in zip(panels, _SWEEPS.values(), strict=True):
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="difference in means (left is better)")
        axes.margins(0.1)
        plain(axes)
        axes.set_ylabel(f"{IN_BATCHES.name} (up is better)")
        axes.label_outer()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=1 if narrow else 3, frameon=False, fontsize=8)
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
    if BIMODAL not in emptied_of(results):
        marker, colour = _STYLES[BIMODAL]
        bars += _point(axes, gap.of(results, BIMODAL), IN_BATCHES.of(results, BIMODAL), marker, colour)
        axes.plot([], [], marker, color=colour, label=f"rebuilt, {VARIANTS[BIMODAL][0]}")
    return points, steps, bars


def _point(axes: Axes, x: Interval, y: Interval, marker: str, colour: str) -> list[Box]:
    """Draw a point with the bars that it has; return these as boxes, left, bottom, right, top."""
    x_bar, y_bar = (error_bars([each]) if is_known(each) else None for each in (x, y))
    style: dict[str, Any] = {"marker": marker, "color": colour, "markersize": 5, "linewidth": 0.8, "zorder": 3}
    axes.errorbar(x["value"], y["value"], xerr=x_bar, yerr=y_bar, **style)
    boxes = [(x["low"], y["value"], x["high"], y["value"]), (x["value"], y["low"], x["value"], y["high"])]
    return [box for box, its in zip(boxes, (x, y), strict=True) if is_known(its)]
