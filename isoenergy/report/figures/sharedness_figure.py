"""How far each atom is shared, with its interval: partly bimodal atoms are seen instead of being cut at 0.05."""

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.evaluation.results import UNEQUAL_Q
from isoenergy.report.figures.shared import COLOURS, LABELS, plain
from isoenergy.report.sharedness import IN_BETWEEN, live_atoms, tested_atoms

_BINS = 20


def sharedness_of_atoms(atoms: pa.Table, title: str, narrow: bool = False) -> Figure:
    """Draw the sharedness of each tested atom with its interval, in order, and how many atoms have how much of it.

    atoms: as `isoenergy.evaluation.exemplars.atoms_table` returns them. Filled: equal energy is not rejected.
    narrow: for a phone, one panel below the other.
    """
    figure = Figure(figsize=(4.5, 7.6) if narrow else (10.4, 4.4), layout="constrained")
    figure.suptitle(f"{title}: how far each atom is shared", fontsize=10 if narrow else 11)
    axes, counts = figure.subplots(2, 1) if narrow else figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    tested = tested_atoms(live_atoms(atoms)).sort_by([("sharedness", "ascending"), ("sharedness_high", "ascending")])
    _intervals(axes, tested)
    _counts(counts, tested)
    for panel in (axes, counts):
        panel.axhspan(*IN_BETWEEN, color="#888888", alpha=0.07, linewidth=0)
        plain(panel)
    axes.set(ylabel="sharedness: smaller energy over larger", xlabel="atoms, by sharedness", ylim=(-0.03, 1.03))
    counts.set(xlabel="atoms", ylim=axes.get_ylim())
    if len(tested):
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _intervals(axes: Axes, tested: pa.Table) -> None:
    """Draw an atom a point, with its interval as a line, from left to right in the order of the rows."""
    x = np.arange(len(tested))
    value, low, high = (tested[name].to_numpy() for name in ("sharedness", "sharedness_low", "sharedness_high"))
    kinds, unequal = np.array(tested["class"].to_pylist()), tested["q_value"].to_numpy() < UNEQUAL_Q
    for name, label in LABELS.items():
        chosen, colour = kinds == name, COLOURS[name]
        # thousands of atoms are a picture within the SVG, as in the projection
        axes.vlines(x[chosen], low[chosen], high[chosen], color=colour, linewidth=0.7, alpha=0.45, rasterized=True)
        for rejected, face, said in ((True, "white", "rejected"), (False, colour, "not rejected")):
            these = chosen & (unequal == rejected)
            if these.any():
                text = f"{label}, equal energy {said} ({these.sum():,})"
                style: dict[str, Any] = {"s": 11, "facecolor": face, "edgecolor": colour, "linewidth": 0.8, "zorder": 3}
                axes.scatter(x[these], value[these], label=text, rasterized=True, **style)


def _counts(axes: Axes, tested: pa.Table) -> None:
    """Draw how many atoms of each class have how much sharedness, one class beside the other."""
    value, kinds = tested["sharedness"].to_numpy(), np.array(tested["class"].to_pylist())
    edges, left = np.linspace(0, 1, _BINS + 1), np.zeros(_BINS)
    for name in LABELS:
        count = np.histogram(value[kinds == name], bins=edges)[0]
        axes.barh(edges[:-1], count, left=left, height=np.diff(edges) * 0.9, align="edge", color=COLOURS[name])
        left += count
