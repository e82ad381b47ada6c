"""The page of an evaluation of any number of modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from isoenergy.evaluation.results import ATOMS_FILE, EXEMPLARS_FILE
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.figures.modality_figures import energy_by_modalities, score_triangle, share_histogram
from isoenergy.report.page.rendering import Page, environment
from isoenergy.report.page.sae_drawings import ReadTable
from isoenergy.report.saes import Sae, labels
from isoenergy.report.tables.evaluation_steps import step_rows
from isoenergy.report.tables.modality_tables import modality_tables

KIND = "modalities"


@dataclass(frozen=True)
class ModalitiesSection:
    """What the page shows of one SAE."""

    label: str
    results: Mapping[str, Any]
    own: bool
    """Whether each modality has its own dictionary."""
    not_defined: Mapping[str, str]
    drawings: Sequence[Drawing]
    atoms: Mapping[str, Sequence[Mapping[str, Any]]]
    """The strongest of each set of modalities, each with what fires it most in each modality."""

    @classmethod
    def of(cls, sae: Sae, label: str, modalities: Sequence[str], atoms: pa.Table, exemplars: pa.Table) -> Self:
        """Gather what an evaluation holds of an SAE; exemplars: what fires its strongest atoms most."""
        return cls(
            label=label,
            results=sae["results"],
            own=bool(sae["config"]["widths"]),
            not_defined=sae["not_defined"],
            drawings=_drawings(sae, label, modalities, atoms),
            atoms=_strongest_atoms(atoms, exemplars, modalities),
        )


def modalities_page(summary: Mapping[str, Any], table: ReadTable) -> Page:
    """Return the page with its figures and tables.

    summary: what `evaluation.json` holds. table: reads a Parquet file of the evaluation.
    """
    saes, names, modalities = summary["saes"], labels(summary["saes"]), list(summary["store"]["modalities"])
    atoms = {sae["name"]: table(f"{sae['atoms']}/{ATOMS_FILE}") for sae in saes}
    shown = {}
    for sae in saes:
        exemplars = table(f"{sae['atoms']}/{EXEMPLARS_FILE}")
        shown[sae["name"]] = ModalitiesSection.of(sae, names[sae["name"]], modalities, atoms[sae["name"]], exemplars)
    steps = step_rows(summary["graph"])
    page = environment().get_template("modalities.html")
    html = page.render(summary=summary, modalities=modalities, labels=names, saes=list(shown.values()), steps=steps)
    drawings = {f"{name}-{each.name}": each for name, section in shown.items() for each in section.drawings}
    return Page(html, drawings, modality_tables(summary, atoms))


def _drawings(sae: Sae, label: str, modalities: Sequence[str], atoms: pa.Table) -> list[Drawing]:
    """Return the shares of the energy, and for two or three modalities where each atom lies between them."""
    classes = sae["results"]["classes"]
    drawings = [Drawing.of("classes", "share of the energy by set of modalities", energy_by_modalities(classes, label))]
    if len(modalities) == 3:
        triangle = score_triangle(atoms, modalities, classes, label)
        drawings.append(Drawing.of("ternary", "μ of each atom in a triangle", triangle))
    if len(modalities) == 2:
        drawings.append(Drawing.of("score", "share of the energy by μ", share_histogram(atoms, modalities, label)))
    return drawings


def _strongest_atoms(
    atoms: pa.Table, exemplars: pa.Table, modalities: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    by_atom = {row["atom"]: row for row in atoms.to_pylist()}
    fired: dict[int, dict[str, list[Any]]] = {}
    for row in exemplars.to_pylist():
        fired.setdefault(row["atom"], {name: [] for name in modalities})[row["modality"]].append(row)
    shown: dict[str, list[dict[str, Any]]] = {}
    for number, rows in fired.items():
        atom = by_atom[number]
        shown.setdefault(atom["modalities"], []).append({**atom, "fired": rows})
    return shown
