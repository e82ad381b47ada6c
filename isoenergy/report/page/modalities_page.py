"""One self-contained HTML page from an evaluation of any number of modalities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib import colormaps
from matplotlib.figure import Figure

from isoenergy.evaluation.exemplars import ATOMS_FILE, EXEMPLARS_FILE
from isoenergy.report.figures.figures import single_panel
from isoenergy.report.page.drawing import Drawing, environment
from isoenergy.report.saes import Sae, labels
from isoenergy.report.tables.evaluation_steps import step_rows

KIND = "modalities"
_BINS = 41


@dataclass(frozen=True)
class ModalitiesReport:
    """What the page shows of one SAE."""

    label: str
    results: Mapping[str, Any]
    own: bool
    """Whether each modality has its own dictionary."""
    not_defined: Mapping[str, str]
    drawings: Sequence[Drawing]
    atoms: Mapping[str, Sequence[Mapping[str, Any]]]
    """The strongest of each set of modalities, each with what fires it most in each modality."""


def modalities_page(summary: Mapping[str, Any], table: Callable[[str], pa.Table]) -> tuple[str, dict[str, Drawing]]:
    """Return the page, and its drawings by the names of their files; `table` reads one of the evaluation's."""
    names, modalities = labels(summary["saes"]), list(summary["store"]["modalities"])
    saes = [_report(sae, names[sae["name"]], modalities, table) for sae in summary["saes"]]
    steps = step_rows(summary["graph"])
    page = (
        environment()
        .get_template("modalities.html")
        .render(summary=summary, modalities=modalities, labels=names, saes=saes, steps=steps)
    )
    drawings: dict[str, Drawing] = {}
    for sae, shown in zip(summary["saes"], saes, strict=True):
        drawings |= {f"{sae['name']}-{each.name}": each for each in shown.drawings}
    return page, drawings


def class_bars(classes: Mapping[str, Any], title: str) -> Figure:
    """Draw the share of the energy of each set of modalities, with its interval."""
    figure, axes = single_panel(5.2, 0.9 + 0.42 * len(classes), title)
    shares = [item["energy_share"] for item in classes.values()]
    values = np.array([share["value"] for share in shares])
    errors = np.array([[share["value"] - share["low"], share["high"] - share["value"]] for share in shares]).T
    colours = [_colour(name, classes) for name in classes]
    axes.barh(list(classes), values, color=colours, xerr=np.nan_to_num(errors), error_kw={"linewidth": 1})
    axes.invert_yaxis()
    axes.set(xlabel="share of the energy", xlim=(0, None))
    return figure


def ternary(atoms: pa.Table, modalities: Sequence[str], classes: Mapping[str, Any], title: str) -> Figure:
    """Draw μ of three modalities: an atom a point in the triangle of distributions over them, its area its energy."""
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    shares = np.stack([live[f"{name}_share"].to_numpy() for name in modalities])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    x, y = (shares.T @ corners).T
    energy, kind = live["energy"].to_numpy(), np.array(live["modalities"].to_pylist())
    figure, axes = single_panel(5.2, 4.6, title)
    axes.plot(*np.vstack([corners, corners[:1]]).T, color="#888888", linewidth=1)
    for name in classes:
        chosen = kind == name
        area = 8 + 250 * energy[chosen] / max(energy.max(initial=0), 1e-30)
        axes.scatter(x[chosen], y[chosen], s=area, color=_colour(name, classes), alpha=0.6, linewidth=0, label=name)
    for corner, name, place in zip(corners, modalities, ("top", "top", "bottom"), strict=True):
        axes.annotate(name, corner, (0, -6 if place == "top" else 6), textcoords="offset points", ha="center", va=place)
    axes.set(aspect="equal")
    axes.set_axis_off()
    axes.legend(frameon=False, fontsize=8, loc="upper right", markerscale=0.7)
    return figure


def share_histogram(atoms: pa.Table, modalities: Sequence[str], title: str) -> Figure:
    """Draw how the energy spreads over μ of two modalities."""
    live = atoms.filter(pc.greater(atoms["energy"], 0))
    score, energy = live[f"{modalities[0]}_share"].to_numpy(), live["energy"].to_numpy()
    share, edges = np.histogram(score, bins=_BINS, range=(0, 1), weights=energy / max(energy.sum(), 1e-30))
    figure, axes = single_panel(5.2, 3.4, title)
    axes.bar((edges[:-1] + edges[1:]) / 2, share, width=np.diff(edges) * 0.92, color="#6a4c93")
    axes.set(xlabel=f"μ (0: {modalities[1]}, 1: {modalities[0]})", ylabel="share of the energy", xlim=(0, 1))
    return figure


def _report(sae: Sae, label: str, modalities: Sequence[str], table: Callable[[str], pa.Table]) -> ModalitiesReport:
    atoms, classes = table(f"{sae['atoms']}/{ATOMS_FILE}"), sae["results"]["classes"]
    drawings = [Drawing.of("classes", "share of the energy by set of modalities", class_bars(classes, label))]
    if len(modalities) == 3:
        drawings.append(
            Drawing.of("ternary", "μ of each atom in a triangle", ternary(atoms, modalities, classes, label))
        )
    if len(modalities) == 2:
        drawings.append(Drawing.of("score", "share of the energy by μ", share_histogram(atoms, modalities, label)))
    shown: dict[str, list[dict[str, Any]]] = {}
    rows = table(f"{sae['atoms']}/{EXEMPLARS_FILE}").to_pylist()
    by_atom = {row["atom"]: row for row in atoms.to_pylist()}
    for number in dict.fromkeys(row["atom"] for row in rows):
        its = [row for row in rows if row["atom"] == number]
        fired = {name: [row for row in its if row["modality"] == name] for name in modalities}
        shown.setdefault(by_atom[number]["modalities"], []).append({**by_atom[number], "fired": fired})
    own = bool(sae["config"]["widths"])
    return ModalitiesReport(label, sae["results"], own, sae["not_defined"], drawings, shown)


def _colour(name: str, classes: Mapping[str, Any]) -> Any:
    return colormaps["tab10"](list(classes).index(name) % 10)
