"""The synthetic experiment over a grid of τ₁ and β: where alignment recovers, and where it collapses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PANELS = {
    "bimodal_energy": "bimodal energy",
    "codes_weighted/merged": "mma on codes by energy, against merged",
    "codes_weighted/instances": "mma on codes by energy, against D′",
    "collapse_rate": "collapse rate of split concepts",
    "transport/instances": "W against D′ (lower is better)",
    "r2": "R²",
}
_FEWEST = 3
_DARK_TEXT_FROM = 0.6


def has_phases(summary: Mapping[str, Any]) -> bool:
    """Whether there are enough τ₁ and β for a diagram: three of each, of one encoder and alignment."""
    one_kind = len({(cell["sparse_encoder"], cell["alignment"]) for cell in summary["cells"]}) == 1
    return one_kind and all(len(_values(summary, name)) >= _FEWEST for name in ("instance_cosine", "beta"))


def phase_grid(summary: Mapping[str, Any], metric: str) -> npt.NDArray[np.float64]:
    """Return the `(τ₁, β)` means of a metric, both ascending; NaN where there is none."""
    cosines, betas = (_values(summary, name) for name in ("instance_cosine", "beta"))
    grid = np.full((len(cosines), len(betas)), np.nan)
    for cell in summary["cells"]:
        mean = cell["metrics"][metric]["mean"]
        row, column = cosines.index(cell["instance_cosine"]), betas.index(cell["beta"])
        grid[row, column] = np.nan if mean is None else mean
    return grid


def phase_diagram(summary: Mapping[str, Any]) -> Figure:
    """Draw the phases as heat maps, and beside the bimodal energy what is true.

    summary: what `recovery_table.summarise` returned. The true bimodal energy is 0 where a concept is two atoms (D′),
    and that of the merged concepts at τ₁ = 1, so it is drawn as two columns: D′ and merged.
    """
    figure = Figure(figsize=(13.6, 7.6), layout="constrained")
    cosines, betas = (_values(summary, name) for name in ("instance_cosine", "beta"))
    for axes, (metric, title) in zip(figure.subplots(2, 3).ravel(), PANELS.items(), strict=True):
        grid, columns = phase_grid(summary, metric), [f"{beta:g}" for beta in betas]
        if metric == "bimodal_energy":
            truths = [[_true(summary, cosine, name) for name in ("instances", "merged")] for cosine in cosines]
            grid = np.hstack([grid, np.full((len(cosines), 1), np.nan), truths])
            columns += ["", "D′", "merged"]
        _heat_map(axes, grid)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(columns)), columns, rotation=45)
        axes.set_yticks(range(len(cosines)), [f"{cosine:g}" for cosine in cosines])
        axes.set(xlabel="β", ylabel="τ₁")
    return figure


def _heat_map(axes: Axes, grid: npt.NDArray[np.float64]) -> None:
    axes.imshow(np.ma.masked_invalid(grid), origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
    for row, column in np.argwhere(np.isfinite(grid)):
        value = grid[row, column]
        shade = "black" if value > _DARK_TEXT_FROM else "white"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=shade)
    axes.tick_params(labelsize=8)
    axes.spines[:].set_visible(False)


def _true(summary: Mapping[str, Any], cosine: float, truth: str) -> float:
    [ideal] = [i for i in summary["ideals"] if (i["instance_cosine"], i["truth"]) == (cosine, truth)]
    return float(ideal["metrics"]["bimodal_energy"]["mean"])


def _values(summary: Mapping[str, Any], name: str) -> list[float]:
    return sorted({cell[name] for cell in summary["cells"]})
