"""What alignment buys and costs: the measures against β, null models beside them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import COLOURS, QUIET, error_bars, plain
from isoenergy.report.intervals import Interval
from isoenergy.report.saes import Sae, is_null, real_saes, trainings
from isoenergy.report.tables.sae_tables import at_path

_PANELS = {
    "intervals.r2": "R²",
    "intervals.bimodal_energy_share": "bimodal share of the energy",
    "retrieval.bimodal.change_in_batches_r1": "δ_r@1: bimodal atoms alone, less all atoms",
    "geometry.p_acc_interval": "p_acc",
}
_MANY_BETAS = 6


def has_betas(saes: Sequence[Sae]) -> bool:
    """Return whether SAEs on true pairs differ in β."""
    return len({sae["config"]["beta"] for sae in real_saes(saes)}) > 1


def measures_by_beta(saes: Sequence[Sae], narrow: bool = False) -> Figure:
    """Draw R², bimodal energy, δ_r@1 and p_acc against β with intervals, a point a training; hollow: a null model.

    The line leads through the means at each β. narrow: for a phone, one panel below the other.
    """
    figure = Figure(figsize=(4.5, 10.5) if narrow else (10.4, 6.2), layout="constrained")
    panels = figure.subplots(*((4, 1) if narrow else (2, 2)), sharex=True).ravel()
    betas = sorted({sae["config"]["beta"] for sae in saes})
    for axes, (path, title) in zip(panels, _PANELS.items(), strict=True):
        axes.set_xscale("symlog", linthresh=min(filter(None, betas), default=1.0), linscale=0.6)
        for null in (False, True):
            chosen = [sae for sae in saes if is_null(sae) == null]
            found = [(sae["config"]["beta"], at_path(results, path)) for sae in chosen for results in trainings(sae)]
            _curve(axes, found, null)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(betas, [f"{beta:g}" for beta in betas], rotation=45 if len(betas) > _MANY_BETAS else 0)
        axes.minorticks_off()
        axes.margins(0.08)
        plain(axes)
    for axes in [axes for axes in panels if axes.containers][:1]:
        axes.legend(frameon=False, fontsize=9)
    for axes in panels[-1:] if narrow else panels[2:]:
        axes.set_xlabel("weight of the alignment, β")
    return figure


def _curve(axes: Axes, points: Sequence[tuple[float, Interval]], null: bool) -> None:
    known = [(beta, interval) for beta, interval in points if np.isfinite(interval["value"])]
    if not known:
        return
    beta = np.array([beta for beta, _ in known])
    intervals = [interval for _, interval in known]
    value = np.array([interval["value"] for interval in intervals])
    colour, label = (QUIET, "null: shuffled pairs") if null else (COLOURS["bimodal"], "true pairs")
    axes.errorbar(
        beta,
        value,
        yerr=error_bars(intervals),
        fmt="o",
        color=colour,
        markerfacecolor="white" if null else colour,
        markersize=5,
        capsize=2.5,
        label=label,
    )
    betas = np.unique(beta)
    means = [value[beta == each].mean() for each in betas]
    axes.plot(betas, means, "--" if null else "-", color=colour, linewidth=1.2, alpha=0.7, zorder=1)
