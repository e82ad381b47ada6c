"""The dictionary as a map: its atoms by PCA and by UMAP, and the bridges between them."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import COLOURS, plain

MODALITIES = LinearSegmentedColormap.from_list("modalities", [COLOURS["text"], "#a9a3c9", COLOURS["image"]])
"""From text (μ = 0) to image (μ = 1)."""
_LARGEST, _SMALLEST = 260.0, 5.0


def atom_map(places: pa.Table, edges: pa.Table, title: str) -> Figure:
    """Draw the live atoms twice, by PCA and by UMAP: coloured by μ, their area their energy, bridges as lines.

    places, edges: as `isoenergy.evaluation.atom_map.write_atom_map` writes them.
    """
    figure = Figure(figsize=(10.4, 5.0), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2)
    order = np.argsort(-places["energy"].to_numpy(), kind="stable")
    shown = places.take(pa.array(order))
    score, energy = shown["modality_score"].to_numpy(), shown["energy"].to_numpy()
    area = np.maximum(_LARGEST * energy / energy.max(initial=1e-30), _SMALLEST)
    for axes, (name, heading) in zip(panels, (("pca", "PCA"), ("umap", "UMAP, by cosine")), strict=True):
        x, y = (shown[f"{name}_{axis}"].to_numpy().astype(np.float64) for axis in "xy")
        if np.isnan(x).all():
            axes.text(0.5, 0.5, "too few atoms fire", ha="center", va="center", transform=axes.transAxes, fontsize=10)
        _lines(axes, dict(zip(shown["atom"].to_pylist(), np.stack([x, y], axis=1), strict=True)), edges)
        axes.scatter(
            x, y, s=area, c=score, cmap=MODALITIES, vmin=0, vmax=1, edgecolor="#444444", linewidth=0.35, zorder=2
        )
        axes.set_title(heading, fontsize=10)
        axes.set(xticks=[], yticks=[])
        plain(axes)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.margins(0.06)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), MODALITIES), ax=panels, shrink=0.7, pad=0.02)
    bar.set_label("modality score μ (0: text, 1: image)", fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)
    return figure


def _lines(axes: Axes, points: Mapping[int, npt.NDArray[np.float64]], edges: pa.Table) -> None:
    """Join atoms by their bridges, the wider the stronger."""
    weight = np.abs(edges["weight"].to_numpy())
    ends = zip(edges["image_atom"].to_pylist(), edges["text_atom"].to_pylist(), strict=True)
    lines = [(points[image], points[text]) for image, text in ends]
    widths = 0.4 + 2.6 * weight / weight.max(initial=1e-30)
    axes.add_collection(LineCollection(lines, linewidths=widths, colors="#2b8a6e", alpha=0.55, zorder=1))
