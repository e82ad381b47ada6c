"""Bridges: how much of them runs through bimodal atoms, wherever the classes are cut."""

import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import QUIET, single_panel
from isoenergy.statistics.thresholds import EPSILON

_CURVES = {
    "sigma": ("Σ-bridge: what fires in a pair", "#2b8a6e", "-"),
    "gamma": ("Γ-bridge: how energies move", "#b5446e", "-"),
    "energy": ("the energy itself", QUIET, "--"),
}


def bridge_mass_by_cut(curves: pa.Table, title: str) -> Figure:
    """Draw the share of each bridge's mass that has a bimodal side against ε, and bimodal atoms' share of the energy.

    curves: as `isoenergy.evaluation.measured_bridges.merge_bridge_parts` writes them.
    """
    figure, axes = single_panel(4.5, 4.0, title)
    for name, (label, colour, style) in _CURVES.items():
        curve = curves.filter(pc.equal(curves["of"], name))
        x, value, low, high = (curve[column].to_numpy() for column in ("epsilon", "value", "low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, value, style, color=colour, linewidth=1.6, label=label)
    axes.axvline(EPSILON, color=QUIET, linewidth=0.8, linestyle=":")
    axes.annotate(
        f"the paper’s {EPSILON:g}", (EPSILON, 0), (4, 4), textcoords="offset points", fontsize=9, color="#555555"
    )
    ticks = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="cut between the classes, ε", ylabel="share with a bimodal side")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure
