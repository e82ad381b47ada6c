"""The report's figures of one SAE's atoms and pairs, and what all figures share."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.evaluation.concepts import UNEQUAL_Q
from isoenergy.report.intervals import Interval, is_known, with_bounds
from isoenergy.statistics.concept_statistics import EPSILON

COLOURS = {"bimodal": "#6a4c93", "image_only": "#d9822b", "text_only": "#2a6fbb", "image": "#d9822b", "text": "#2a6fbb"}
LABELS = {"bimodal": "bimodal", "image_only": "image only", "text_only": "text only"}
QUIET = "#777777"
PROJECTED = {"reconstructed": "all atoms", "bimodal": "unimodal atoms removed"}


def energy_scatter(atoms: pa.Table, title: str) -> Figure:
    """Draw image energy against text energy, an atom a point, its area its firing frequency.

    A tested atom has the interval of its sharedness as a line along its weaker side; hollow: equal energy is rejected.
    """
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    energies = [live[name].to_numpy() for name in ("image_energy", "text_energy")]
    floor = min((e[e > 0].min() for e in energies if (e > 0).any()), default=1e-9) / 3
    figure, axes = single_panel(4.5, 4.0, title)
    kind = np.array(live["class"].to_pylist())
    tested, unequal = np.isfinite(live["p_value"].to_numpy()), live["q_value"].to_numpy() < UNEQUAL_Q
    x, y = (np.maximum(energy, floor) for energy in energies)
    stronger = np.maximum(x, y)
    low, high = (np.maximum(stronger * live[f"sharedness_{end}"].to_numpy(), floor) for end in ("low", "high"))
    for name, label in LABELS.items():
        chosen = kind == name
        area = 10 + 120 * live["frequency"].to_numpy()
        colour = COLOURS[name]
        line: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.35, "zorder": 1}
        above, beside = chosen & tested & (x >= y), chosen & tested & (x < y)
        axes.vlines(x[above], low[above], high[above], **line)
        axes.hlines(y[beside], low[beside], high[beside], **line)
        for these, face in ((chosen & unequal, "none"), (chosen & ~unequal, colour)):
            axes.scatter(x[these], y[these], s=area[these], facecolor=face, edgecolor=colour, linewidth=0.9, alpha=0.7)
        axes.scatter([], [], s=40, color=colour, label=f"{label} ({chosen.sum():,})")
    axes.axline((1, 1), slope=1, color=QUIET, linewidth=1, linestyle="--")
    highest = max(energy.max(initial=floor) for energy in energies) * 2
    axes.set(xscale="log", yscale="log", xlim=(floor / 2, highest), ylim=(floor / 2, highest))
    axes.set(xlabel="energy on images, E_I", ylabel="energy on texts, E_T")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def modality_score_histogram(scores: pa.Table, title: str) -> Figure:
    """Draw how the energy spreads over the modality score, from text to image, with intervals.

    scores: as `isoenergy.evaluation.spectra.score_histogram` returns them.
    """
    low, high, share = (scores[name].to_numpy() for name in ("low_score", "high_score", "value"))
    figure, axes = single_panel(4.5, 4.0, title)
    middle = (low + high) / 2
    colours = [COLOURS["text_only" if m < EPSILON else "image_only" if m > 1 - EPSILON else "bimodal"] for m in middle]
    bars = np.maximum([share - scores["low"].to_numpy(), scores["high"].to_numpy() - share], 0)
    axes.bar(middle, share, width=(high - low) * 0.9, color=colours)
    axes.errorbar(middle, share, yerr=bars, fmt="none", ecolor="#222222", elinewidth=0.9)
    axes.set(xlabel="modality score μ (0: text, 1: image)", ylabel="share of the energy", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    return figure


def projection(points: pa.Table, results: Mapping[str, Any], title: str, stacked: bool = False) -> Figure:
    """Draw both modalities along the gap and across it, before and after the unimodal atoms are removed.

    points: as `isoenergy.evaluation.exemplars.write_projection` writes them. stacked: one below the other.
    """
    size, grid = ((4.5, 7.6), (2, 1)) if stacked else ((10.4, 4.6), (1, 2))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(*grid, sharex=True, sharey=True)
    for axes, (name, heading) in zip(panels, PROJECTED.items(), strict=True):
        cloud = points.filter(pc.equal(points["embeddings"], name))
        for modality in ("image", "text"):
            part = cloud.filter(pc.equal(cloud["modality"], modality))
            x, y = part["x"].to_numpy(), part["y"].to_numpy()
            axes.scatter(
                x, y, s=4, alpha=0.35, linewidth=0, color=COLOURS[modality], label=f"{modality}s", rasterized=True
            )
            axes.plot(x.mean(), y.mean(), marker="X", markersize=12, color=COLOURS[modality], markeredgecolor="white")
        gap = results["geometry"][name]["difference_in_means_interval"]
        axes.set_title(f"{heading}: gap {with_bounds(gap)}", fontsize=11)
        axes.set(ylabel="principal axis across the gap")
        plain(axes)
        axes.label_outer()
    panels[-1].set_xlabel("along the gap")
    panels[0].set_xlabel("along the gap" if not stacked else "")
    for handle in panels[0].legend(frameon=False, fontsize=10, markerscale=4).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


def as_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure as `svg` or `png`, the same bytes every time."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "isoenergy"}):  # names of clip paths and markers are random otherwise
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def single_panel(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Return a figure with one plain panel."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    plain(axes)
    return figure, axes


def bars(intervals: Sequence[Interval]) -> npt.NDArray[np.float64]:
    """Return `(2, points)` lengths of error bars, below and above; 0 where there is no interval."""
    lengths = [
        [max(it["value"] - it["low"], 0), max(it["high"] - it["value"], 0)] if is_known(it) else [0, 0]
        for it in intervals
    ]
    return np.array(lengths, np.float64).reshape(-1, 2).T


def plain(axes: Axes) -> None:
    """Take away what no panel needs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
