"""How several runs went, side by side: a panel a metric."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import plain

Points = Sequence[tuple[int, float]]

_PANELS_A_ROW = 3
_LOG_FROM = 50.0
_LEGEND_COLUMNS = 4


def metric_curves(curves: Mapping[str, Mapping[str, Points]]) -> Figure:
    """Draw each run's values by step; values that are not finite are gaps.

    curves: by metric, then by run, `(step, value)` in the order of steps. A run has one colour in all panels.
    """
    names = list(dict.fromkeys(name for runs in curves.values() for name in runs))
    shades = colormaps["viridis"](np.linspace(0, 0.9, max(len(names), 2)))
    colours = dict(zip(names, shades, strict=False))
    across = min(_PANELS_A_ROW, max(len(curves), 1))
    down = math.ceil(len(curves) / across) or 1
    legend_lines = math.ceil(len(names) / _LEGEND_COLUMNS)
    figure = Figure(figsize=(3.6 * across, 2.6 * down + 0.22 * legend_lines), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (metric, runs) in zip(panels, curves.items(), strict=False):
        axes.set_title(metric, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        plain(axes, letters=8)
        _runs(axes, runs, colours)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    if lines:
        figure.legend(
            handles=list(lines.values()),
            loc="outside lower center",
            ncols=_LEGEND_COLUMNS,
            fontsize=8,
            frameon=False,
        )
    return figure


def _runs(axes: Axes, runs: Mapping[str, Points], colours: Mapping[str, Any]) -> None:
    """Draw the runs of one metric; on a logarithmic axis if they are positive and a linear one would hide most."""
    for name, points in runs.items():
        steps, values = np.array([step for step, _ in points]), np.array([value for _, value in points], float)
        values[~np.isfinite(values)] = np.nan
        style = "o" if len(points) == 1 else "-"
        axes.plot(steps, values, style, color=colours[name], linewidth=1.3, markersize=4, label=name)
    finite = [value for points in runs.values() for _, value in points if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > _LOG_FROM * min(finite):
        axes.set_yscale("log")
