"""What is known of each atom, in a table: how strong it is in each modality, whether it agrees, what fires it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.errors import InputError, in_brief
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.explorer.atom_labels import TOPS, labels_of_strongest
from isoenergy.metrics.agreement import agreement
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.float_arrays import as_float_array
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.statistics.top_entries import TopPairs

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5
_BATCH_PAIRS = 1024
_SHOWN = 12


@dataclass(frozen=True)
class AtomTable:
    """A row an atom, in the dictionary's order."""

    pairs: int
    """Of which this is known."""
    columns: Mapping[str, npt.NDArray[Any]]
    """image_energy, text_energy: mean squared coefficients (paper 1.5). frequency: the share of rows that fire it.
    modality_score: μ, images' share of its energy. class: bimodal, image_only, text_only or dead. correlation, lift,
    agrees: whether its two coefficients go together in pairs, as `isoenergy.metrics.agreement` says. With captions
    also label: words that those of its strongest pairs have more often than others; and examples: those of the pairs
    that fire it most, separated by ` | `."""

    def __len__(self) -> int:
        return len(self.columns["class"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def strongest(self, count: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the atoms with the most energy, the strongest first."""
        energy = self["image_energy"] + self["text_energy"]
        return np.argsort(-energy, kind="stable")[:count]

    def frame(self) -> "pd.DataFrame":
        """Return a table of pandas, with the atoms' numbers as its index."""
        import pandas as pd

        return pd.DataFrame(dict(self.columns), index=pd.RangeIndex(len(self), name="atom"))

    def __repr__(self) -> str:
        lines = [f"{len(self):,} atoms on {self.pairs:,} pairs; the strongest:"]
        labels = self.columns.get("label", np.full(len(self), ""))
        header = f"{'atom':>6} {'image':>9} {'text':>9} {'μ':>5}  {'class':10} agrees"
        lines.append(f"{header}  label" if "label" in self.columns else header)
        for atom in self.strongest(_SHOWN):
            image, text, score = (self[name][atom] for name in ("image_energy", "text_energy", "modality_score"))
            agrees = "yes" if self["agrees"][atom] else "no"
            line = (
                f"{atom:6} {image:9.4g} {text:9.4g} {score:5.2f}  {self['class'][atom]:10} {agrees:6}  {labels[atom]}"
            )
            lines.append(line.rstrip())
        return "\n".join(lines)


@dataclass
class StrongestPairs:
    """The pairs that fire each atom most, in each modality."""

    captions: pa.ChunkedArray
    """Of all pairs."""
    tops: list[TopPairs] = field(default_factory=lambda: [TopPairs.none(), TopPairs.none()])

    def update(self, codes: Sequence[SparseCodes], first_pair: int) -> None:
        """Take both codes of the pairs from `first_pair` on."""
        both = zip(self.tops, codes, strict=True)
        self.tops = [tops.merge(TopPairs.of(own, first_pair, TOPS), TOPS) for tops, own in both]

    def columns(self, statistics: ConceptStatistics, modalities: Sequence[str], examples: int) -> dict[str, Any]:
        """Return each atom's label, and captions: see `AtomTable`."""
        fires = [statistics.image.fires, statistics.text.fires]
        labels = labels_of_strongest([(top.atoms, top.pairs) for top in self.tops], fires, self.captions, modalities)
        shown = [
            " | ".join(filter(None, self.captions.take(pa.array(pairs)).to_pylist()))
            for pairs in self._strongest(statistics.atoms, examples)
        ]
        return {"label": np.array(labels, dtype=object), "examples": np.array(shown, dtype=object)}

    def _strongest(self, atoms: int, count: int) -> list[npt.NDArray[np.int64]]:
        """Return the pairs of each atom, by the larger of their coefficients, the largest first."""
        whole = {
            name: np.concatenate([getattr(top, name) for top in self.tops]) for name in ("atoms", "pairs", "values")
        }
        order = np.lexsort((whole["pairs"], -whole["values"], whole["atoms"]))
        numbers, pairs = whole["atoms"][order], whole["pairs"][order]
        starts = np.searchsorted(numbers, np.arange(atoms + 1))
        own = [pairs[starts[atom] : starts[atom + 1]] for atom in range(atoms)]
        return [np.fromiter(dict.fromkeys(some.tolist()), np.int64)[:count] for some in own]


def table_of_sums(
    statistics: ConceptStatistics,
    sums: PairAgreement,
    strongest: StrongestPairs | None = None,
    modalities: Sequence[str] = MODALITIES,
    examples: int = EXAMPLES,
) -> AtomTable:
    """Return the table that sums over codes of pairs come to; with labels and examples if there are captions."""
    known = agreement(sums)
    described = {} if strongest is None else strongest.columns(statistics, modalities, examples)
    return AtomTable(
        statistics.image.rows,
        {
            "image_energy": statistics.image.energy,
            "text_energy": statistics.text.energy,
            "frequency": statistics.frequency,
            "modality_score": statistics.modality_score,
            "class": statistics.classes().names.astype(str),
            "correlation": known.correlation,
            "lift": known.lift,
            "agrees": known.agrees,
            **described,
        },
    )


@torch.no_grad()
def describe_atoms(
    sae: SparseAutoencoder,
    images: Tensor | np.ndarray,
    texts: Tensor | np.ndarray,
    captions: Sequence[str] | None = None,
    examples: int = EXAMPLES,
) -> AtomTable:
    """Return the table of an autoencoder's atoms, as pairs show them.

    images, texts: `(pairs, dim)` raw embeddings, row i of one with row i of the other. captions: of the pairs; the
    `examples`, at most 12, that fire an atom most, by the larger of the two coefficients, are given beside it, and a
    label as the live page has it.
    Raises InputError for lengths that differ, ValueError as `SparseAutoencoder.prepare` does.
    """
    sides = [x if isinstance(x, Tensor) else torch.from_numpy(as_float_array(x)) for x in (images, texts)]
    if len(sides[0]) != len(sides[1]) or (captions is not None and len(captions) != len(sides[0])):
        raise InputError(
            f"images, texts and captions must be as many, got {len(sides[0])}, {len(sides[1])}"
            f"{'' if captions is None else f', {len(captions)}'}"
        )
    if examples > TOPS:
        raise InputError(f"examples must be {TOPS} or fewer, got {examples}")
    statistics, sums = ConceptStatistics.zeros(sae.config.atoms), PairAgreement.zeros(sae.config.atoms)
    strongest = None if captions is None else StrongestPairs(as_texts(captions))
    gram = sae.gram_of_frozen(2 * len(sides[0]))
    for start in range(0, len(sides[0]), _BATCH_PAIRS):
        both = [
            sae.encode(sae.prepare(side[start : start + _BATCH_PAIRS], modality), gram=gram)
            for side, modality in zip(sides, sae.config.modalities, strict=True)
        ]
        statistics.update(both[0], both[1])
        sums.update(both[0], both[1], row_labels(sides[0][start : start + _BATCH_PAIRS].cpu().numpy()))
        if strongest is not None:
            strongest.update(both, start)
    return table_of_sums(statistics, sums, strongest, sae.config.modalities, examples)


def as_texts(captions: Sequence[str]) -> pa.ChunkedArray:
    """Return captions as Arrow has them; raises InputError for what are no texts."""
    try:
        return pa.chunked_array([pa.array(list(captions), pa.string())], pa.string())
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"captions must be a list of texts ({in_brief(error)})") from error
