"""The synthetic experiment as a figure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

_PANELS = {
    "transport/instances": "W against D′ (lower is better)",
    "codes/instances": "mma on codes against D′",
    "codes_weighted/parts": "mma on codes against D, by energy",
    "bimodal_energy": "bimodal energy",
}


def recovery_by_beta(summary: Mapping[str, Any]) -> Figure:
    """Draw W, mma and the bimodal energy by β, a line for each τ₁; crosses are the published numbers.

    summary: what `recovery_table.summarise` returned. Bars are 95 % intervals over seeds.
    """
    figure = Figure(figsize=(10.4, 6.8), layout="constrained")
    betas = sorted({cell["beta"] for cell in summary["cells"]})
    cosines = list(dict.fromkeys(cell["instance_cosine"] for cell in summary["cells"]))
    shades = colormaps["viridis"](np.linspace(0, 0.8, max(len(cosines), 2)))
    colours = dict(zip(cosines, shades, strict=False))
    for axes, (name, title) in zip(figure.subplots(2, 2).ravel(), _PANELS.items(), strict=True):
        for number, (cosine, colour) in enumerate(colours.items()):
            cells = {c["beta"]: c["metrics"][name] for c in summary["cells"] if c["instance_cosine"] == cosine}
            shift = 0.06 * (number - (len(cosines) - 1) / 2)
            x = [betas.index(beta) + shift for beta in cells]
            means = [cell["mean"] for cell in cells.values()]
            bars = [
                [abs(cell["mean"] - (cell[end] if cell[end] is not None else cell["mean"])) for cell in cells.values()]
                for end in ("low", "high")
            ]
            axes.errorbar(x, means, yerr=bars, marker="o", capsize=3, color=colour, label=f"τ₁ = {cosine:g}")
            kind = {"transport/instances": "W", "codes/instances": "mma"}.get(name)
            rows = [r for r in summary["published"] if (r["instance_cosine"], r["number"]) == (cosine, kind)]
            if rows:
                places = [betas.index(row["beta"]) + shift for row in rows]
                axes.plot(places, [row["published"] for row in rows], "x", markersize=9, color=colour)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
        axes.set_xlabel("β", fontsize=9)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure
