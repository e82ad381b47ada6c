"""The report's figures; each function returns one matplotlib figure."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.statistics import EPSILON

COLOURS = {"bimodal": "#6a4c93", "image_only": "#d9822b", "text_only": "#2a6fbb", "image": "#d9822b", "text": "#2a6fbb"}
LABELS = {"bimodal": "bimodal", "image_only": "image only", "text_only": "text only"}
_BINS = 41


def energy_scatter(atoms: pa.Table, title: str) -> Figure:
    """Draw image energy against text energy, an atom a point, its area its firing frequency."""
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    energies = [live[name].to_numpy() for name in ("image_energy", "text_energy")]
    floor = min((e[e > 0].min() for e in energies if (e > 0).any()), default=1e-9) / 3
    figure, axes = single_panel(5.2, 4.6, title)
    kind = np.array(live["class"].to_pylist())
    for name, label in LABELS.items():
        chosen = kind == name
        area = 10 + 120 * live["frequency"].to_numpy()[chosen]
        x, y = (np.maximum(energy[chosen], floor) for energy in energies)
        axes.scatter(x, y, s=area, color=COLOURS[name], alpha=0.65, linewidth=0, label=f"{label} ({chosen.sum()})")
    axes.axline((1, 1), slope=1, color="#888888", linewidth=1, linestyle="--")
    highest = max(energy.max(initial=floor) for energy in energies) * 2
    axes.set(xscale="log", yscale="log", xlim=(floor / 2, highest), ylim=(floor / 2, highest))
    axes.set(xlabel="energy on images, E_I (never fires: at the edge)", ylabel="energy on texts, E_T")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def modality_score_histogram(atoms: pa.Table, title: str) -> Figure:
    """Draw how the energy spreads over the modality score, from text to image."""
    live = atoms.filter(pc.is_valid(atoms["modality_score"]))
    score, energy = live["modality_score"].to_numpy(), live["energy"].to_numpy()
    share, edges = np.histogram(score, bins=_BINS, range=(0, 1), weights=energy / max(energy.sum(), 1e-12))
    figure, axes = single_panel(5.2, 3.4, title)
    middle = (edges[:-1] + edges[1:]) / 2
    colours = [COLOURS["text_only" if m < EPSILON else "image_only" if m > 1 - EPSILON else "bimodal"] for m in middle]
    axes.bar(middle, share, width=np.diff(edges) * 0.92, color=colours)
    axes.set(xlabel="modality score μ (0: text, 1: image)", ylabel="share of the energy", xlim=(0, 1))
    return figure


def projection(points: pa.Table, title: str) -> Figure:
    """Draw both modalities along the gap and across it, before and after the unimodal atoms are removed."""
    figure = Figure(figsize=(10.4, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (name, heading) in zip(
        panels, (("reconstructed", "reconstructed"), ("bimodal", "unimodal atoms removed")), strict=True
    ):
        cloud = points.filter(pc.equal(points["embeddings"], name))
        for modality in ("image", "text"):
            part = cloud.filter(pc.equal(cloud["modality"], modality))
            x, y = part["x"].to_numpy(), part["y"].to_numpy()
            axes.scatter(x, y, s=4, alpha=0.35, linewidth=0, color=COLOURS[modality], label=modality, rasterized=True)
            axes.plot(x.mean(), y.mean(), marker="X", markersize=11, color=COLOURS[modality], markeredgecolor="white")
        axes.set_title(heading, fontsize=10)
        axes.set(xlabel="along the gap")
        plain(axes)
    panels[0].set_ylabel("principal axis across it")
    panels[0].legend(frameon=False, fontsize=9, markerscale=4)
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


def plain(axes: Axes) -> None:
    """Take away what no panel needs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
