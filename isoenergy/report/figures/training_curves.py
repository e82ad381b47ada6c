"""How a training went: loss and R² by step."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from isoenergy.training.training_metrics import r2_by_modality

_STYLES = {"-": "solid", "--": "dashed", "-.": "dash-dotted", ":": "dotted"}


def training_curves(points: Sequence[tuple[int, Mapping[str, float]]], names: Sequence[str]) -> Figure:
    """Draw reconstruction loss, R² of both modalities, alignment and bimodal energy of each SAE by step.

    points: `(step, metrics)` as a training reports them. names: the SAEs.
    """
    figure = Figure(figsize=(10.4, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).ravel()
    modalities = list(
        dict.fromkeys(modality for _, metrics in points for modality in r2_by_modality(metrics, names[0]))
    )
    styles = dict(zip(modalities, ("-", "--", "-.", ":"), strict=False))
    titles = (
        "reconstruction loss",
        f"R² ({', '.join(f'{_STYLES[style]}: {name}' for name, style in styles.items())}; dots: validation)",
        "alignment term",
        "bimodal energy",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    colours = colormaps["viridis"](np.linspace(0, 0.85, max(len(names), 2)))
    for name, colour in zip(names, colours, strict=False):

        def draw(panel: int, key: str, style: str = "-", label: str | None = None, name: str = name, c=colour) -> None:  # type: ignore[no-untyped-def]
            there = [(step, metrics[f"{name}/{key}"]) for step, metrics in points if f"{name}/{key}" in metrics]
            if there:
                panels[panel].plot(*zip(*there, strict=True), style, color=c, linewidth=1.4, markersize=3, label=label)

        draw(0, "reconstruction_loss", label=name)
        for modality in modalities:
            draw(1, f"r2_{modality}", styles.get(modality, ":"))
        draw(1, "validation_r2", "o")
        draw(2, "alignment")
        draw(3, "bimodal_energy")
    panels[0].set_yscale("log")
    panels[0].legend(frameon=False, fontsize=8)
    for axes in panels[2:]:
        axes.set_xlabel("step")
    return figure
