"""The gap before and after: every way to close it, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.evaluation.ways import WAYS
from isoenergy.report.figures.shared import COLOURS, SHADES, error_bars, plain
from isoenergy.report.saes import Sae
from isoenergy.report.tables.rivals import BIMODAL, GAPS, R10, VARIANTS, RivalMeasure, emptied_of

SHOWN = tuple(name for name, way in WAYS.items() if way.in_gap_figure)
_MOVED = ("reconstructed", BIMODAL)
_PANELS = {"the gap: difference in means (left is better)": GAPS[0], "R@10, both ways (right is better)": R10}
_MARKERS = "ospD^v"
_SPREAD = 0.5
"""Of a row's height, over which the parts of a row are spread."""


def gaps_of_variants(
    original: Mapping[str, Any], saes: Sequence[Sae], labels: Mapping[str, str], narrow: bool = False
) -> Figure:
    """Draw gap and R@10 of each variant, with intervals: of the embeddings, and as each SAE rebuilds them.

    A line leads from all atoms of an SAE to its bimodal ones. What leaves most rows with nothing is left out. narrow:
    for a phone, one panel below the other.
    """
    parts = [("the embeddings themselves", original), *((labels[sae["name"]], sae["results"]) for sae in saes)]
    shown = [name for name in SHOWN if any(name in part["geometry"] for _, part in parts)]
    offsets = _SPREAD * np.linspace(-0.5, 0.5, len(parts))
    height = 1.9 + 0.36 * len(shown)
    figure = Figure(figsize=(4.5, 1.7 * height) if narrow else (10.4, height), layout="constrained")
    panels = figure.subplots(*((2, 1) if narrow else (1, 2)), sharey=True)
    for axes, (title, measure) in zip(panels, _PANELS.items(), strict=True):
        for number, ((label, part), offset) in enumerate(zip(parts, offsets, strict=True)):
            colour = SHADES[number % len(SHADES)]
            _points(axes, measure, part, shown, offset, fmt=_MARKERS[number % len(_MARKERS)], color=colour, label=label)
        axes.set_title(title, fontsize=10, loc="right" if narrow else "center")
        axes.set_xlim(left=0)
        axes.set_yticks(range(len(shown)), [VARIANTS[name][0] for name in shown])
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
        if BIMODAL in shown:
            band = np.array([-0.5, 0.5]) + shown.index(BIMODAL)
            axes.axhspan(*band, color=COLOURS["bimodal"], alpha=0.08, linewidth=0)
        plain(axes)
    panels[0].invert_yaxis()
    handles, names = panels[0].get_legend_handles_labels()
    columns = 1 if narrow else min(len(names), 3)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    return figure


def _points(
    axes: Axes, measure: RivalMeasure, part: Mapping[str, Any], shown: Sequence[str], offset: float, **style: Any
) -> None:
    empty = emptied_of(part)
    found = {name: measure.of(part, name) for name in shown if name in part["geometry"] and name not in empty}
    row = {name: shown.index(name) + offset for name in found}
    values = [interval["value"] for interval in found.values()]
    lengths = error_bars(list(found.values()))
    axes.errorbar(values, list(row.values()), xerr=lengths, markersize=5, elinewidth=1.4, capsize=2.5, **style)
    if all(name in found for name in _MOVED):
        ends = [found[name]["value"] for name in _MOVED]
        axes.plot(ends, [row[name] for name in _MOVED], color=style["color"], linewidth=1, alpha=0.6, zorder=1)
