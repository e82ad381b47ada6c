"""Pairs as two clouds of points, before and after the removal of the unimodal atoms."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import COLOURS, plain
from isoenergy.report.intervals import with_bounds
from isoenergy.settings.modalities import MODALITIES

PROJECTED = {"reconstructed": "all atoms", "bimodal": "unimodal atoms removed"}
"""What is drawn, of the embeddings that an SAE rebuilds: all, and what is left."""
_CALLED = dict(zip(MODALITIES, ("images", "captions"), strict=True))


def projected_pairs(points: pa.Table, results: Mapping[str, Any], title: str, stacked: bool = False) -> Figure:
    """Draw both modalities along the gap and across it, before and after the unimodal atoms are removed.

    points: as `isoenergy.evaluation.exemplars.write_projection` writes them. stacked: one below the other.
    """
    size, grid = ((4.5, 7.6), (2, 1)) if stacked else ((10.4, 4.6), (1, 2))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=10 if stacked else 12)
    panels = figure.subplots(*grid, sharex=True, sharey=True)
    for axes, (name, heading) in zip(panels, PROJECTED.items(), strict=True):
        _clouds(axes, points.filter(pc.equal(points["embeddings"], name)))
        gap = results["geometry"][name]["difference_in_means_interval"]
        axes.set_title(f"{heading}: gap {with_bounds(gap)}", fontsize=9 if stacked else 11)
        axes.set(ylabel="principal axis across the gap")
        plain(axes)
        axes.label_outer()
    panels[-1].set_xlabel("along the gap")
    panels[0].set_xlabel("along the gap" if not stacked else "")
    for handle in panels[0].legend(frameon=False, fontsize=10, markerscale=4).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


def _clouds(axes: Axes, points: pa.Table) -> None:
    """Draw a point a row, in its modality's colour, and a cross at each modality's mean."""
    for modality in MODALITIES:
        part = points.filter(pc.equal(points["modality"], modality))
        x, y = part["x"].to_numpy(), part["y"].to_numpy()
        colour = COLOURS[modality]
        # thousands of points are a picture within the SVG, which would be megabytes otherwise
        axes.scatter(x, y, s=4, alpha=0.35, linewidth=0, color=colour, label=_CALLED[modality], rasterized=True)
        axes.plot(x.mean(), y.mean(), marker="X", markersize=12, color=colour, markeredgecolor="white")
