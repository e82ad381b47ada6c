"""Which modalities share the energy, of any number of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import colormaps
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import error_bars, single_panel

_BINS = 41


def energy_by_modalities(classes: Mapping[str, Any], title: str) -> Figure:
    """Draw the share of the energy of each set of modalities, with its interval."""
    figure, axes = single_panel(5.2, 0.9 + 0.42 * len(classes), title)
    shares = [item["energy_share"] for item in classes.values()]
    values = [share["value"] for share in shares]
    colours = [_colour(name, classes) for name in classes]
    axes.barh(list(classes), values, color=colours, xerr=error_bars(shares), error_kw={"linewidth": 1})
    axes.invert_yaxis()
    axes.set(xlabel="share of the energy", xlim=(0, None))
    return figure


def score_triangle(atoms: pa.Table, modalities: Sequence[str], classes: Mapping[str, Any], title: str) -> Figure:
    """Draw μ of three modalities: an atom a point in the triangle of distributions over them, its area its energy."""
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    shares = np.stack([live[f"{name}_share"].to_numpy() for name in modalities])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    x, y = (shares.T @ corners).T
    energy, kind = live["energy"].to_numpy(), np.array(live["modalities"].to_pylist())
    figure, axes = single_panel(5.2, 4.6, title)
    axes.plot(*np.vstack([corners, corners[:1]]).T, color="#888888", linewidth=1)
    for name in classes:
        chosen = kind == name
        area = 8 + 250 * energy[chosen] / max(energy.max(initial=0), 1e-30)
        axes.scatter(x[chosen], y[chosen], s=area, color=_colour(name, classes), alpha=0.6, linewidth=0, label=name)
    for corner, name, side in zip(corners, modalities, ("top", "top", "bottom"), strict=True):
        axes.annotate(name, corner, (0, -6 if side == "top" else 6), textcoords="offset points", ha="center", va=side)
    axes.set(aspect="equal")
    axes.set_axis_off()
    axes.legend(frameon=False, fontsize=8, loc="upper right", markerscale=0.7)
    return figure


def share_histogram(atoms: pa.Table, modalities: Sequence[str], title: str) -> Figure:
    """Draw how the energy spreads over μ of two modalities."""
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    score, energy = live[f"{modalities[0]}_share"].to_numpy(), live["energy"].to_numpy()
    share, edges = np.histogram(score, bins=_BINS, range=(0, 1), weights=energy / max(energy.sum(), 1e-30))
    figure, axes = single_panel(5.2, 3.4, title)
    axes.bar((edges[:-1] + edges[1:]) / 2, share, width=np.diff(edges) * 0.92, color="#6a4c93")
    axes.set(xlabel=f"μ (0: {modalities[1]}, 1: {modalities[0]})", ylabel="share of the energy", xlim=(0, 1))
    return figure


def _colour(name: str, classes: Mapping[str, Any]) -> Any:
    return colormaps["tab10"](list(classes).index(name) % 10)
