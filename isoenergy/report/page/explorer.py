"""The concept explorer of the page: every live atom of every SAE, as data that a script shows a few at a time.

The page holds numbers and captions as deflated JSON, and thumbnails in blocks, all in base64, none of which is parsed
before it is looked at. Captions are untrusted: they are JSON here, and text nodes in the script, never markup.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from isoenergy.evaluation.results import CAPTIONS_FILE, CLASSES, EXPLORER_FILE, PLACES_FILE, UNEQUAL_Q
from isoenergy.report.saes import Sae
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.activation_histogram import BINS_AN_OCTAVE, LEAST_OCTAVE

_MOST_PICTURE_BYTES = 14_000_000
"""Where there are more, the strongest atoms have theirs; base64 makes a third more of them."""
_ATOMS_A_BLOCK = 32
_CLASSES = (*CLASSES, "dead")
"""Dead: fires here, but in none of the pairs that classes are fitted on."""
_NUMBERS = (
    "energy",
    "image_energy",
    "text_energy",
    "frequency",
    "modality_score",
    "q_value",
    "sharedness",
    "sharedness_low",
    "sharedness_high",
    "correlation",
    "correlation_low",
    "correlation_high",
    "lift",
    "agrees",
)


@dataclass(frozen=True)
class Explorer:
    """What the page's templates put into the page."""

    labels: Mapping[str, str]
    """Of the SAEs that are shown, by name."""
    first: str
    """The SAE that is shown first."""
    data: Markup
    """Numbers and captions of all atoms: JSON, deflated, in base64."""
    blocks: Sequence[Markup]
    """Strips of thumbnails in base64, a line an atom, an empty one where there is none."""
    script: Markup
    """The page's own and the explorer's."""
    style: Markup

    @classmethod
    def of(
        cls, saes: Sequence[Sae], labels: Mapping[str, str], measured_on: str, table: Callable[[str], pa.Table]
    ) -> Self:
        """Gather what evaluations hold of `saes`; `table` reads a Parquet file of the evaluation."""
        tables = [table(f"{sae['explorer']}/{EXPLORER_FILE}").sort_by([("energy", "descending")]) for sae in saes]
        captions = _Captions(table(f"{sae['explorer']}/{CAPTIONS_FILE}") for sae in saes)
        pictures = [*_strips(tables)]
        first = next((sae["name"] for sae in saes if sae["config"]["beta"] > 0), saes[0]["name"] if saes else "")
        data = {
            "classes": _CLASSES,
            "unequal_q": UNEQUAL_Q,
            "bins_an_octave": BINS_AN_OCTAVE,
            "least_octave": LEAST_OCTAVE,
            "atoms_a_block": _ATOMS_A_BLOCK,
            "measured_on": measured_on,
            "captions": captions.texts,
            "saes": [
                {
                    "name": sae["name"],
                    "label": labels[sae["name"]],
                    **_columns(atoms, captions, lines),
                    "places": _places(atoms, table(f"{sae['atom_map']}/{PLACES_FILE}")),
                }
                for sae, atoms, lines in zip(saes, tables, pictures, strict=True)
            ],
        }
        return cls(
            labels={sae["name"]: labels[sae["name"]] for sae in saes},
            first=first,
            data=_deflated(data),
            blocks=[
                Markup("\n".join(lines[start : start + _ATOMS_A_BLOCK]))
                for lines in pictures
                for start in range(0, len(lines), _ATOMS_A_BLOCK)
            ],
            script=_asset("page.js") + _shared("atom_map.js") + _asset("explorer.js"),
            style=_asset("explorer.css"),
        )

    @property
    def script_digest(self) -> str:
        """What the page's Content-Security-Policy allows to run, and nothing else."""
        return "sha256-" + base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()


class _Captions:
    """The captions of all pairs that are shown, each once."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        by_pair: dict[int, str] = {}
        for table in tables:
            by_pair |= zip(table["pair"].to_pylist(), table["caption"].to_pylist(), strict=True)
        self.texts = list(dict.fromkeys(by_pair.values()))
        numbers = {text: number for number, text in enumerate(self.texts)}
        self._pairs = np.array(sorted(by_pair), np.int64)
        self._numbers = np.array([numbers[by_pair[pair]] for pair in self._pairs.tolist()], np.int64)

    def of(self, pairs: pa.ChunkedArray) -> list[list[int]]:
        """Return the captions' numbers for lists of pairs."""
        lists = pairs.combine_chunks()
        found = self._numbers[np.searchsorted(self._pairs, lists.flatten().to_numpy())]
        numbers: list[list[int]] = pa.ListArray.from_arrays(_starts(lists), pa.array(found)).to_pylist()
        return numbers


def _columns(atoms: pa.Table, captions: _Captions, strips: Sequence[str]) -> dict[str, Any]:
    def cells(modality: str) -> list[list[int]]:
        lists = atoms[f"{modality}_cells"].to_pylist()
        return [own if strip else [-1] * len(own) for own, strip in zip(lists, strips, strict=True)]

    return {
        "atom": atoms["atom"].to_pylist(),
        "class": [_CLASSES.index(name) for name in atoms["class"].to_pylist()],
        **{name: _rounded(atoms[name]) for name in _NUMBERS},
        **{f"{m}_captions": captions.of(atoms[f"{m}_pairs"]) for m in MODALITIES},
        **{f"{m}_values": _rounded_lists(atoms[f"{m}_values"]) for m in MODALITIES},
        **{f"{m}_cells": cells(m) for m in MODALITIES},
        **{f"{m}_histogram": [_trimmed(counts) for counts in atoms[f"{m}_histogram"].to_pylist()] for m in MODALITIES},
        "partners": atoms["partners"].to_pylist(),
        "weights": _rounded_lists(atoms["weights"]),
        "atom_is_image": [list(map(int, sides)) for sides in atoms["atom_is_image"].to_pylist()],
    }


def _places(atoms: pa.Table, places: pa.Table) -> list[tuple[float, float] | None]:
    """Return where each atom is on the map: by UMAP, by the principal axes where there are too few atoms for it."""
    by = "pca" if places["umap_x"].null_count else "umap"
    x, y = (_rounded(places[f"{by}_{axis}"]) for axis in "xy")
    of_atom = dict(zip(places["atom"].to_pylist(), zip(x, y, strict=True), strict=True))
    return [of_atom.get(atom) for atom in atoms["atom"].to_pylist()]


def _strips(tables: Sequence[pa.Table]) -> Iterator[list[str]]:
    """Yield the strips of each SAE's atoms; those of the strongest atoms of all, as many as the page has room for."""
    sizes = [pc.fill_null(pc.binary_length(table["strip"]), 0).to_numpy() for table in tables]
    energies = np.concatenate([np.zeros(0), *(table["energy"].to_numpy() for table in tables)])
    order = np.argsort(-energies, kind="stable")
    fits = np.zeros(len(order), bool)
    fits[order] = np.concatenate([np.zeros(0), *sizes])[order].cumsum() <= _MOST_PICTURE_BYTES
    start = 0
    for table in tables:
        kept = fits[start : start + len(table)]
        start += len(table)
        yield [
            base64.b64encode(strip.as_py()).decode() if keep and strip.is_valid else ""
            for strip, keep in zip(table["strip"], kept, strict=True)
        ]


def _trimmed(counts: list[int]) -> list[int]:
    """Return the number of the first bin that is not empty, and the counts from there to the last such; or nothing."""
    filled = np.flatnonzero(counts)
    return [int(filled[0]), *counts[filled[0] : filled[-1] + 1]] if len(filled) else []


def _rounded(numbers: pa.ChunkedArray) -> list[float | None]:
    return [None if value is None else float(f"{value:.4g}") for value in numbers.to_pylist()]


def _rounded_lists(lists: pa.ChunkedArray) -> list[list[float]]:
    return [[float(f"{value:.3g}") for value in values] for values in lists.to_pylist()]


def _starts(lists: pa.ListArray) -> pa.Array:
    """Return where each list begins among the values of all; those of a slice do not begin at 0."""
    return pc.subtract(lists.offsets, lists.offsets[0])


def _deflated(value: Any) -> Markup:
    """Return JSON as zlib's bytes in base64, which the browser's DecompressionStream reads."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(base64.b64encode(zlib.compress(text.encode(), 9)).decode())


def _shared(name: str) -> Markup:
    """Return a module of the live explorer's page as part of a script."""
    text = files("isoenergy").joinpath("explorer", "page", name).read_text()
    return Markup(text.replace("\nexport function ", "\nfunction "))


def _asset(name: str) -> Markup:
    return Markup(files("isoenergy.report").joinpath("templates", name).read_text())
