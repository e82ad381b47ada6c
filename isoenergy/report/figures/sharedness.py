"""How far each atom is shared, with its interval: partly bimodal atoms are seen instead of being cut at 0.05."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from isoenergy.evaluation.concepts import UNEQUAL_Q
from isoenergy.report.figures.figures import COLOURS, LABELS, plain

IN_BETWEEN = (0.05, 0.95)
_BINS = 20


@dataclass(frozen=True)
class SharednessCounts:
    """How many atoms fire, of those how many in pairs enough to be tested, and what the tests say."""

    live: int
    tested: int
    unequal: int
    """Equal energy is rejected."""
    between: int
    """The whole interval of the sharedness lies between 0.05 and 0.95: neither of one modality nor evenly shared."""
    between_energy: float
    """Their share of the energy of all."""
    between_cut: int
    """Of these, how many the cut of the modality score at 0.05 calls unimodal."""

    @classmethod
    def of(cls, atoms: pa.Table) -> Self:
        """Count in a table of atoms (`isoenergy.evaluation.exemplars.atoms_table`)."""
        energy, live = atoms["energy"].to_numpy(), _live(atoms)
        between = np.isin(atoms["atom"].to_numpy(), _between(live)["atom"].to_numpy())
        kinds = np.array(atoms["class"].to_pylist())
        return cls(
            live=len(live),
            tested=len(_tested(live)),
            unequal=int(pc.sum(pc.less(live["q_value"], UNEQUAL_Q)).as_py() or 0),
            between=int(between.sum()),
            between_energy=float(energy[between].sum() / max(energy.sum(), 1e-30)),
            between_cut=int((kinds[between] != "bimodal").sum()),
        )


def sharedness(atoms: pa.Table, title: str) -> Figure:
    """Draw the sharedness of each tested atom with its interval, in order, and how many atoms have how much of it.

    atoms: as `isoenergy.evaluation.exemplars.atoms_table` returns them. Filled: equal energy is not rejected.
    """
    figure = Figure(figsize=(10.4, 4.4), layout="constrained")
    figure.suptitle(f"{title}: how far each atom is shared", fontsize=11)
    axes, bars = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    tested = _tested(_live(atoms)).sort_by([("sharedness", "ascending"), ("sharedness_high", "ascending")])
    place = np.arange(len(tested))
    value, low, high, q = (
        tested[name].to_numpy() for name in ("sharedness", "sharedness_low", "sharedness_high", "q_value")
    )
    kinds = np.array(tested["class"].to_pylist())
    for name, label in LABELS.items():
        chosen = kinds == name
        axes.vlines(place[chosen], low[chosen], high[chosen], color=COLOURS[name], linewidth=0.7, alpha=0.45)
        for rejected, face, said in ((True, "white", "rejected"), (False, COLOURS[name], "not rejected")):
            these = chosen & ((q < UNEQUAL_Q) == rejected)
            if these.any():
                axes.scatter(
                    place[these],
                    value[these],
                    s=11,
                    facecolor=face,
                    edgecolor=COLOURS[name],
                    linewidth=0.8,
                    zorder=3,
                    label=f"{label}, equal energy {said} ({these.sum():,})",
                )
    counts = [np.histogram(value[kinds == name], bins=_BINS, range=(0, 1))[0] for name in LABELS]
    edges = np.linspace(0, 1, _BINS + 1)
    below = np.zeros(_BINS)
    for name, count in zip(LABELS, counts, strict=True):
        bars.barh(edges[:-1], count, left=below, height=np.diff(edges) * 0.9, align="edge", color=COLOURS[name])
        below += count
    for panel in (axes, bars):
        panel.axhspan(*IN_BETWEEN, color="#888888", alpha=0.07, linewidth=0)
        plain(panel)
    axes.set(ylabel="sharedness: smaller energy over larger", xlabel="atoms, by sharedness", ylim=(-0.03, 1.03))
    bars.set(xlabel="atoms")
    if len(tested):
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _live(atoms: pa.Table) -> pa.Table:
    return atoms.filter(pc.greater(atoms["energy"], 0))


def _tested(live: pa.Table) -> pa.Table:
    return live.filter(pc.is_valid(live["p_value"]))


def _between(live: pa.Table) -> pa.Table:
    tested = _tested(live)
    inside = pc.and_(
        pc.greater(tested["sharedness_low"], IN_BETWEEN[0]), pc.less(tested["sharedness_high"], IN_BETWEEN[1])
    )
    return tested.filter(inside)
