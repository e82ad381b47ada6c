"""Where the energy lies: atom by atom, over the modality score, and over the energies of atoms."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.evaluation.results import UNEQUAL_Q
from isoenergy.report.figures.shared import COLOURS, LABELS, QUIET, plain, single_panel
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.thresholds import EPSILON

Floats = npt.NDArray[np.float64]


def energy_scatter(atoms: pa.Table, title: str) -> Figure:
    """Draw image energy against text energy, an atom a point, its area its firing frequency.

    A tested atom has the interval of its sharedness as a line along its weaker side; hollow: equal energy is rejected.
    """
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    energies = [live[name].to_numpy() for name in ("image_energy", "text_energy")]
    # a logarithmic axis has no 0: what never fires in a modality is drawn at a third of the smallest energy there is
    floor = min((e[e > 0].min() for e in energies if (e > 0).any()), default=1e-9) / 3
    x, y = (np.maximum(energy, floor) for energy in energies)
    figure, axes = single_panel(4.5, 4.0, title)
    kind, unequal = np.array(live["class"].to_pylist()), live["q_value"].to_numpy() < UNEQUAL_Q
    area = 10 + 120 * live["frequency"].to_numpy()
    for name, label in LABELS.items():
        chosen, colour = kind == name, COLOURS[name]
        _weaker_sides(axes, live.filter(pa.array(chosen)), x[chosen], y[chosen], floor, colour)
        for these, face in ((chosen & unequal, "none"), (chosen & ~unequal, colour)):
            style: dict[str, Any] = {"facecolor": face, "edgecolor": colour, "linewidth": 0.9, "alpha": 0.7}
            axes.scatter(x[these], y[these], s=area[these], rasterized=True, **style)  # thousands, as in the projection
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
    lengths = np.maximum([share - scores["low"].to_numpy(), scores["high"].to_numpy() - share], 0)
    axes.bar(middle, share, width=(high - low) * 0.9, color=colours)
    axes.errorbar(middle, share, yerr=lengths, fmt="none", ecolor="#222222", elinewidth=0.9)
    axes.set(xlabel="modality score μ (0: text, 1: image)", ylabel="share of the energy", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    return figure


def energy_densities(densities: pa.Table, title: str) -> Figure:
    """Draw the density of each modality's energy over the energy of an atom in it, by class, with bands.

    densities: as `isoenergy.evaluation.spectra.densities` returns them.
    """
    figure = Figure(figsize=(4.5, 4.0), layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, modality in zip(panels, MODALITIES, strict=True):
        of_modality = densities.filter(pc.equal(densities["modality"], modality))
        for name, label in LABELS.items():
            curve = of_modality.filter(pc.equal(of_modality["class"], name))
            x = 10 ** curve["log10_energy"].to_numpy()
            value, low, high = (curve[end].to_numpy() for end in ("value", "low", "high"))
            axes.fill_between(x, low, high, color=COLOURS[name], alpha=0.22, linewidth=0)
            axes.plot(x, value, color=COLOURS[name], linewidth=1.6, label=label)
        axes.set(xscale="log", ylabel=f"of {modality}s, a decade")
        plain(axes)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    panels[1].set_xlabel("energy of an atom on images, or on texts")
    return figure


def _weaker_sides(axes: Axes, atoms: pa.Table, x: Floats, y: Floats, floor: float, colour: str) -> None:
    """Draw where the smaller energy of each tested atom may lie, given the larger one: sharedness is their ratio."""
    tested = np.isfinite(atoms["p_value"].to_numpy())
    stronger = np.maximum(x, y)
    low, high = (np.maximum(stronger * atoms[f"sharedness_{end}"].to_numpy(), floor) for end in ("low", "high"))
    line: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.35, "zorder": 1, "rasterized": True}
    above, beside = tested & (x >= y), tested & (x < y)
    axes.vlines(x[above], low[above], high[above], **line)
    axes.hlines(y[beside], low[beside], high[beside], **line)
