"""A few atoms of each class to look at first, drawn from what the explorer has of all."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from isoenergy.evaluation.results import CLASSES
from isoenergy.report.saes import Sae
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY

Pictures = Mapping[int, Sequence[tuple[int, str, str]]]
"""Of an atom: as `Concept.images`."""
_OF_A_CLASS = 6
_STRONGEST = 60
"""Among so many atoms that both sides agree on, those that agree most are shown."""
_PICTURES, _CAPTIONS = 5, 2
_HEADINGS = {
    "bimodal": "Shared in meaning: the same thing in image and caption",
    "image_only": "Images only",
    "text_only": "Captions only",
}


@dataclass(frozen=True)
class Concept:
    """An atom with what fires it most."""

    sae: str
    atom: int
    kind: str
    energy: float
    modality_score: float
    agreement: float | None
    strip: str
    """Its pictures side by side, an AVIF in base64; empty if there is none."""
    gaps: int
    """Between the strip's pictures."""
    images: Sequence[tuple[int, str, str]]
    """Places in the strip, -1 for none, captions, and data URLs where a picture is not in the strip."""
    captions: Sequence[str]
    """All different."""


def curated_concepts(sae: Sae, atoms: pa.Table, captions: pa.Table, pictures: Pictures) -> dict[str, list[Concept]]:
    """Return six atoms of each class by the heading of the class, if there are as many.

    Bimodal ones are those whose sides agree most, of the 60 with the most energy; others those with the most energy. An
    atom whose captions have half of their words from one that is shown already comes after those that have not.
    atoms, captions: what the evaluation has for the explorer. pictures: data URLs and captions of an atom's images, by
    its number, for those whose pictures the evaluation does not have.
    """
    by_pair = dict(zip(captions["pair"].to_pylist(), captions["caption"].to_pylist(), strict=True))
    rows = atoms.drop_columns(["image_histogram", "text_histogram"]).sort_by([("energy", "descending")]).to_pylist()
    concepts = {}
    for name in CLASSES:
        of_class = _in_order([row for row in rows if row["class"] == name], name)
        concepts[_HEADINGS[name]] = _different(_concept(sae["name"], row, by_pair, pictures) for row in of_class)
    return {heading: its for heading, its in concepts.items() if its}


def _in_order(rows: Sequence[Mapping[str, Any]], kind: str) -> Sequence[Mapping[str, Any]]:
    if kind != "bimodal":
        return rows[:_STRONGEST]
    agreeing = [row for row in rows if row["agrees"] and row["frequency"] <= ALWAYS_ON_FREQUENCY][:_STRONGEST]
    return sorted(agreeing, key=lambda row: -(row["correlation"] or 0)) or rows[:_STRONGEST]


def _different(concepts: Iterable[Concept]) -> list[Concept]:
    chosen: list[Concept] = []
    alike: list[Concept] = []
    for concept in concepts:
        words = _words(concept)
        others = map(_words, chosen)
        seen = any(2 * len(words & other) >= min(len(words), len(other)) > 0 for other in others)
        (alike if seen else chosen).append(concept)
        if len(chosen) == _OF_A_CLASS:
            break
    return [*chosen, *alike][:_OF_A_CLASS]


def _words(concept: Concept) -> set[str]:
    return {word for caption in concept.captions for word in re.findall(r"\w{3,}", caption.casefold())}


def _concept(sae: str, row: Mapping[str, Any], by_pair: Mapping[int, str], pictures: Pictures) -> Concept:
    cells = row["image_cells"] if row["strip"] is not None else [-1] * len(row["image_pairs"])
    images = [(cell, by_pair[pair], "") for cell, pair in zip(cells, row["image_pairs"], strict=True)]
    texts = {" ".join(by_pair[pair].casefold().split()): by_pair[pair] for pair in reversed(row["text_pairs"])}
    return Concept(
        sae=sae,
        atom=row["atom"],
        kind=row["class"],
        energy=row["energy"],
        modality_score=row["modality_score"],
        agreement=row["correlation"],
        strip=base64.b64encode(row["strip"]).decode() if row["strip"] is not None else "",
        gaps=max(1, *row["image_cells"], *row["text_cells"]) if row["image_cells"] or row["text_cells"] else 1,
        images=(images if row["strip"] is not None else pictures.get(row["atom"]) or images)[:_PICTURES],
        captions=list(reversed(texts.values()))[:_CAPTIONS],
    )
