"""What the page shows of one SAE: its verdict, its rivals, its figures and its strongest atoms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from isoenergy.evaluation.results import CAPTIONS_FILE, EXEMPLARS_FILE, EXPLORER_FILE
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.naming import Naming
from isoenergy.report.page.curated_concepts import Concept, Pictures, curated_concepts
from isoenergy.report.page.sae_drawings import (
    ReadTable,
    atom_drawings,
    projection_drawing,
    rival_drawing,
    sweeps_drawing,
)
from isoenergy.report.page.shown_pictures import GivenPictures
from isoenergy.report.page.verdict import Finding, original_recall, verdict
from isoenergy.report.saes import Sae
from isoenergy.report.sharedness import SharednessCounts
from isoenergy.report.tables.rivals import rival_sentences


@dataclass(frozen=True)
class SaeSection:
    """What the page shows of one SAE."""

    label: str
    results: Mapping[str, Any]
    verdict: Sequence[Finding]
    rivals: Sequence[str]
    rival: Drawing
    sweeps: Drawing
    projection: Drawing
    atom_drawings: Sequence[Drawing]
    atoms_tested: SharednessCounts
    concepts: Mapping[str, Sequence[Concept]]
    """Some atoms to look at first, by the heading of their class."""

    @classmethod
    def of(
        cls,
        sae: Sae,
        summary: Mapping[str, Any],
        label: str,
        atoms: pa.Table,
        table: ReadTable,
        naming: Naming,
        given: GivenPictures | None,
    ) -> Self:
        """Gather what an evaluation holds of an SAE.

        atoms: as `isoenergy.evaluation.exemplars.atoms_table` returns them. table: reads a table of the evaluation.
        given: where the report is told that pictures are.
        """
        original = summary["original"]
        shown, captions = (table(f"{sae['explorer']}/{file}") for file in (EXPLORER_FILE, CAPTIONS_FILE))
        return cls(
            label=label,
            results=sae["results"],
            verdict=verdict(sae, summary["saes"], summary["pairs"]["chance_r10"], original_recall(summary)),
            rivals=rival_sentences(original, sae),
            rival=rival_drawing(original, sae, label).named(naming),
            sweeps=sweeps_drawing(original, sae, label).named(naming),
            projection=projection_drawing(sae, label, table).named(naming),
            atom_drawings=[drawing.named(naming) for drawing in atom_drawings(sae, label, atoms, table)],
            atoms_tested=SharednessCounts.of(atoms),
            concepts=curated_concepts(sae, shown, captions, _given_pictures(sae, shown, given, table)),
        )

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """All its figures."""
        return self.rival, self.sweeps, self.projection, *self.atom_drawings


def _given_pictures(sae: Sae, shown: pa.Table, given: GivenPictures | None, table: ReadTable) -> Pictures:
    """Return the pictures of the strongest atoms, by atom, from where the report is told that they are.

    None if the explorer has some.
    """
    if given is None or shown["strip"].null_count < len(shown):
        return {}
    rows = [row for row in table(f"{sae['exemplars']}/{EXEMPLARS_FILE}").to_pylist() if row["modality"] == "image"]
    found = given.data_urls(rows)
    of_atoms: dict[int, list[tuple[int, str, str]]] = {}
    for row in rows:
        of_atoms.setdefault(row["atom"], []).append((-1, row["caption"], found.get((row["file"], row["row"]), "")))
    return of_atoms
