"""The gap before and after: every way to close it, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from isoenergy.evaluation.ways import WAYS
from isoenergy.report.figures.shared import COLOURS, error_bars, plain
from isoenergy.report.saes import Sae
from isoenergy.report.tables.rivals import BIMODAL, GAPS, VARIANTS, RivalMeasure

SHOWN = tuple(name for name, way in WAYS.items() if way.in_gap_figure)
_MOVED = ("reconstructed", BIMODAL)
_TITLES = ("difference in means, DiM", "optimal transport, OT")
_ORIGINAL = "#2b8a6e"
_SAES = LinearSegmentedColormap.from_list("saes", [COLOURS["image"], COLOURS["bimodal"]])
_MARKERS = "ospD^v"
_SPREAD = 0.5
"""Of a row's height, over which the parts of a row are spread."""


def gaps_of_variants(original: Mapping[str, Any], saes: Sequence[Sae], labels: Mapping[str, str]) -> Figure:
    """Draw the gap of each variant by both measures, with intervals: of the embeddings, and as each SAE rebuilds them.

    A line leads from all atoms of an SAE to its bimodal ones.
    """
    colours = [to_hex(colour) for colour in _SAES(np.linspace(0, 1, max(len(saes), 2)))]
    parts = [("the embeddings themselves", original, _ORIGINAL)]
    parts += [(labels[sae["name"]], sae["results"], colour) for sae, colour in zip(saes, colours, strict=False)]
    offsets = _SPREAD * np.linspace(-0.5, 0.5, len(parts))
    figure = Figure(figsize=(10.4, 1.9 + 0.36 * len(SHOWN)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, gap, title in zip(panels, GAPS, _TITLES, strict=False):
        for number, ((label, part, colour), offset) in enumerate(zip(parts, offsets, strict=True)):
            _points(axes, gap, part, offset, fmt=_MARKERS[number % len(_MARKERS)], color=colour, label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(left=0)
        axes.set_yticks(range(len(SHOWN)), [VARIANTS[name][0] for name in SHOWN])
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.axhspan(*np.array([-0.5, 0.5]) + SHOWN.index(BIMODAL), color=COLOURS["bimodal"], alpha=0.08, linewidth=0)
        plain(axes)
    panels[0].invert_yaxis()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 3), frameon=False, fontsize=9)
    return figure


def _points(axes: Axes, gap: RivalMeasure, part: Mapping[str, Any], offset: float, **style: Any) -> None:
    found = {name: gap.of(part, name) for name in SHOWN if name in part["geometry"]}
    row = {name: SHOWN.index(name) + offset for name in found}
    values = [interval["value"] for interval in found.values()]
    lengths = error_bars(list(found.values()))
    axes.errorbar(values, list(row.values()), xerr=lengths, markersize=5, elinewidth=1.4, capsize=2.5, **style)
    if all(name in found for name in _MOVED):
        ends = [found[name]["value"] for name in _MOVED]
        axes.plot(ends, [row[name] for name in _MOVED], color=style["color"], linewidth=1, alpha=0.6, zorder=1)
