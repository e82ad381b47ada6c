"""How a training went: loss and R² by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import plain
from isoenergy.training.training_metrics import r2_by_modality

Points = Sequence[tuple[int, Mapping[str, float]]]

_STYLES = {"-": "solid", "--": "dashed", "-.": "dash-dotted", ":": "dotted"}


def training_curves(points: Points, names: Sequence[str]) -> Figure:
    """Draw reconstruction loss, R² of both modalities, alignment and bimodal energy of each SAE by step.

    points: `(step, metrics)` as a training reports them. names: the SAEs.
    """
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    loss, r2, alignment, bimodal = panels
    modalities = dict.fromkeys(name for _, metrics in points for name in r2_by_modality(metrics, names[0]))
    styles = dict(zip(modalities, _STYLES, strict=False))
    said = ", ".join(f"{_STYLES[style]}: {name}" for name, style in styles.items())
    loss.set_title("reconstruction loss", fontsize=10)
    r2.set_title(f"R² ({said}; dots: validation)", fontsize=10)
    alignment.set_title("alignment term", fontsize=10)
    bimodal.set_title("bimodal energy", fontsize=10)
    for axes in panels:
        plain(axes, letters=8)
    for name, colour in zip(names, colormaps["viridis"](np.linspace(0, 0.85, max(len(names), 2))), strict=False):
        _curve(loss, points, f"{name}/reconstruction_loss", color=colour, label=name)
        for modality in modalities:
            _curve(r2, points, f"{name}/r2_{modality}", styles.get(modality, ":"), color=colour)
        _curve(r2, points, f"{name}/validation_r2", "o", color=colour)
        _curve(alignment, points, f"{name}/alignment", color=colour)
        _curve(bimodal, points, f"{name}/bimodal_energy", color=colour)
    loss.set_yscale("log")
    loss.legend(frameon=False, fontsize=8)
    for axes in (alignment, bimodal):
        axes.set_xlabel("step")
    return figure


def _curve(axes: Axes, points: Points, metric: str, style: str = "-", **options: Any) -> None:
    """Draw a metric by step, where it was measured."""
    there = [(step, metrics[metric]) for step, metrics in points if metric in metrics]
    if there:
        axes.plot(*zip(*there, strict=True), style, linewidth=1.4, markersize=3, **options)
