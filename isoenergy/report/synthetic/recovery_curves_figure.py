"""The synthetic experiment over training time as a figure: a row a measure, a column a setting."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from isoenergy.report.figures.shared import plain
from isoenergy.report.synthetic.recovery_curves_table import MMA, W
from isoenergy.report.synthetic.recovery_table import HOLDS_FROM, MEASURES, PUBLISHED, TRUTHS, VIOLATED_UNTIL

PANELS = {W: "W against D′", MMA: "mma, codes, D′", "r2": "R²", "bimodal_energy": "bimodal energy"}
MMA_PANELS = {
    f"{measure}/{truth}": f"{text}, {name}"
    for measure, text in MEASURES.items()
    for truth, name in TRUTHS.items()
    if measure != "transport"
}
_STYLES = ("-", "--", ":", "-.")
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def recovery_curves(summary: Mapping[str, Any], panels: Mapping[str, str]) -> Figure:
    """Draw metrics over epochs, a line for each β and length of training, longest solid; bands: 95 % over seeds.

    summary: what `summarise_curves` returned. panels: titles by metric. Grey lines are the published numbers, dashed
    that of the SAE, dotted that of SAE-A.
    """
    curves = summary["curves"]
    columns = list(dict.fromkeys((curve["instance_cosine"], curve["atom_norm"]) for curve in curves))
    betas = sorted({curve["beta"] for curve in curves})
    lengths = sorted({curve["epochs"] for curve in curves}, reverse=True)
    first = min(point["epoch"] for curve in curves for point in curve["points"])
    shades = dict(zip(betas, colormaps["viridis"](np.linspace(0, 0.85, max(len(betas), 2))), strict=False))
    figure = Figure(figsize=(2.9 * len(columns) + 0.6, 1.9 * len(panels) + 0.8), layout="constrained")
    grid = figure.subplots(len(panels), len(columns), squeeze=False, sharex=True, sharey="row")
    for row, (metric, title) in zip(grid, panels.items(), strict=True):
        row[0].set_ylabel(title, fontsize=8)
        for axes, column in zip(row, columns, strict=True):
            own = [curve for curve in curves if (curve["instance_cosine"], curve["atom_norm"]) == column]
            for curve in own:
                style = _STYLES[lengths.index(curve["epochs"]) % len(_STYLES)]
                label = f"β = {curve['beta']:g}, {curve['epochs']} epochs"
                _line(axes, curve["points"], metric, color=shades[curve["beta"]], linestyle=style, label=label)
            _published(axes, metric, column[0])
            axes.set_xscale("log")
            axes.set_xticks([epoch for epoch in _TICKS if first <= epoch <= lengths[0]])
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            plain(axes, letters=7)
    for axes, (cosine, norm) in zip(grid[0], columns, strict=True):
        axes.set_title(f"τ₁ = {cosine:g}, {norm} norms", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("epoch", fontsize=8)
    lines = {line.get_label(): line for axes in grid.ravel() for line in axes.get_lines()}
    shown = [line for label, line in lines.items() if not label.startswith("_")]
    figure.legend(handles=shown, loc="outside lower center", ncols=len(columns), fontsize=8, frameon=False)
    return figure


def _line(axes: Axes, points: Sequence[Mapping[str, Any]], metric: str, **style: Any) -> None:
    known = [(point["epoch"], point["metrics"][metric]) for point in points]
    known = [(epoch, interval) for epoch, interval in known if interval["mean"] is not None]
    epochs = [epoch for epoch, _ in known]
    axes.plot(epochs, [interval["mean"] for _, interval in known], linewidth=1.3, **style)
    if known and known[0][1]["low"] is not None:
        low, high = ([interval[end] for _, interval in known] for end in ("low", "high"))
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _published(axes: Axes, metric: str, cosine: float) -> None:
    if VIOLATED_UNTIL < cosine < HOLDS_FROM:
        return
    for item in PUBLISHED:
        if f"{item.measure}/instances" == metric and item.holds == (cosine >= HOLDS_FROM):
            axes.axhline(item.value, color="#777777", linewidth=0.9, linestyle=":" if item.aligned else "--")
