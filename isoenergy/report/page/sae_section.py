"""What the page shows of one SAE: its verdict, its rivals, its figures and its strongest atoms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from isoenergy.evaluation.results import CLASSES, EXEMPLARS_FILE
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.naming import Naming
from isoenergy.report.page.sae_drawings import ReadTable, atom_drawings, projection_drawing, rival_drawings
from isoenergy.report.page.shown_pictures import given_pictures, thumbnails
from isoenergy.report.page.verdict import Finding, verdict
from isoenergy.report.saes import Sae
from isoenergy.report.sharedness import SharednessCounts
from isoenergy.report.tables.rivals import rival_sentences
from isoenergy.settings.image_choices import UNRECORDED, ImageReading

_HEADINGS = {
    "bimodal": "Bimodal atoms: what images and captions share",
    "image_only": "Image-only atoms",
    "text_only": "Text-only atoms",
}


@dataclass(frozen=True)
class SaeSection:
    """What the page shows of one SAE."""

    label: str
    results: Mapping[str, Any]
    verdict: Sequence[Finding]
    rivals: Sequence[str]
    rival_drawings: Sequence[Drawing]
    projection: Drawing
    atom_drawings: Sequence[Drawing]
    atoms_tested: SharednessCounts
    atoms: Mapping[str, Sequence[Mapping[str, Any]]]
    """The strongest atoms by the heading of their class, each with its top images and captions."""

    @classmethod
    def of(
        cls, sae: Sae, summary: Mapping[str, Any], label: str, atoms: pa.Table, table: ReadTable, naming: Naming
    ) -> Self:
        """Gather what an evaluation holds of an SAE.

        atoms: as `isoenergy.evaluation.exemplars.atoms_table` returns them. table: reads a table of the evaluation.
        """
        original = summary["original"]
        return cls(
            label=label,
            results=sae["results"],
            verdict=verdict(sae, summary["saes"], summary["pairs"]["chance_r10"]),
            rivals=rival_sentences(original, sae),
            rival_drawings=[drawing.named(naming) for drawing in rival_drawings(original, sae, label)],
            projection=projection_drawing(sae, label, table).named(naming),
            atom_drawings=[drawing.named(naming) for drawing in atom_drawings(sae, label, atoms, table)],
            atoms_tested=SharednessCounts.of(atoms),
            atoms=_strongest_atoms(atoms, table(f"{sae['exemplars']}/{EXEMPLARS_FILE}"), summary["store"]),
        )

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All its figures."""
        return *self.rival_drawings, self.projection, *self.atom_drawings


def _strongest_atoms(atoms: pa.Table, exemplars: pa.Table, store: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    shown = {row["atom"]: row | {"images": [], "captions": []} for row in atoms.to_pylist()}
    rows = exemplars.to_pylist()
    pictures: Mapping[tuple[str, int], str] = {}
    of_images = [row for row in rows if row["modality"] == "image"]
    reading = ImageReading(**store["image_reading"]) if "image_reading" in store else UNRECORDED
    if images := store.get("images"):
        pictures = given_pictures(images, store["uri"], of_images, reading)
    elif store["source_config"] is not None:
        pictures = thumbnails(store["source_config"], {(row["file"], row["row"]) for row in of_images}, reading)
    for row in rows:
        atom = shown[row["atom"]]
        if row["modality"] == "image":
            atom["images"].append(row | {"picture": pictures.get((row["file"], row["row"]))})
        else:
            atom["captions"].append(row)
    chosen = [atom for atom in shown.values() if atom["images"] or atom["captions"]]
    chosen.sort(key=lambda atom: -atom["energy"])
    by_class = {name: [atom for atom in chosen if atom["class"] == name] for name in CLASSES}
    return {_HEADINGS[name]: its for name, its in by_class.items() if its}
