"""What is known of each atom, in a table: how strong it is in each modality, whether it agrees, what fires it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.metrics.agreement import agreement
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.float_arrays import as_float_array
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement

if TYPE_CHECKING:
    import pandas as pd

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
    also examples: those of the pairs that fire it most, separated by ` | `."""

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
        lines.append(f"{'atom':>6} {'image':>9} {'text':>9} {'μ':>5}  {'class':10} agrees")
        for atom in self.strongest(_SHOWN):
            image, text, score = (self[name][atom] for name in ("image_energy", "text_energy", "modality_score"))
            agrees = "yes" if self["agrees"][atom] else "no"
            lines.append(f"{atom:6} {image:9.4g} {text:9.4g} {score:5.2f}  {self['class'][atom]:10} {agrees}")
        return "\n".join(lines)


def table_of_sums(statistics: ConceptStatistics, sums: PairAgreement) -> AtomTable:
    """Return the table that sums over codes of pairs come to."""
    known = agreement(sums)
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
        },
    )


@torch.no_grad()
def describe_atoms(
    sae: SparseAutoencoder,
    images: Tensor | np.ndarray,
    texts: Tensor | np.ndarray,
    captions: Sequence[str] | None = None,
    examples: int = 5,
) -> AtomTable:
    """Return the table of an autoencoder's atoms, as pairs show them.

    images, texts: `(pairs, dim)` raw embeddings, row i of one with row i of the other. captions: of the pairs; the
    `examples` that fire an atom most, by the larger of the two coefficients, are given beside it.
    Raises InputError for lengths that differ, ValueError as `SparseAutoencoder.prepare` does.
    """
    sides = [x if isinstance(x, Tensor) else torch.from_numpy(as_float_array(x)) for x in (images, texts)]
    if len(sides[0]) != len(sides[1]) or (captions is not None and len(captions) != len(sides[0])):
        raise InputError(
            f"images, texts and captions must be as many, got {len(sides[0])}, {len(sides[1])}"
            f"{'' if captions is None else f', {len(captions)}'}"
        )
    statistics, sums = ConceptStatistics.zeros(sae.config.atoms), PairAgreement.zeros(sae.config.atoms)
    strongest = _Strongest(sae.config.atoms, examples)
    gram = sae.gram_of_frozen(2 * len(sides[0]))
    for start in range(0, len(sides[0]), _BATCH_PAIRS):
        both = [
            sae.encode(sae.prepare(side[start : start + _BATCH_PAIRS], modality), gram=gram)
            for side, modality in zip(sides, sae.config.modalities, strict=True)
        ]
        statistics.update(both[0], both[1])
        sums.update(both[0], both[1])
        if captions is not None:
            strongest.update(torch.maximum(*(codes.to_dense(sae.config.atoms) for codes in both)), start)
    table = table_of_sums(statistics, sums)
    if captions is None:
        return table
    shown = [" | ".join(captions[pair] for pair in pairs) for pairs in strongest.pairs()]
    return AtomTable(table.pairs, {**table.columns, "examples": np.array(shown, dtype=object)})


class _Strongest:
    """The pairs that fire each atom most."""

    def __init__(self, atoms: int, count: int) -> None:
        self._values, self._pairs = torch.zeros(atoms, count), torch.full((atoms, count), -1)

    def update(self, values: Tensor, first_pair: int) -> None:
        """Take `(pairs, atoms)` coefficients of the pairs from `first_pair` on."""
        count = self._values.shape[1]
        together = torch.cat([self._values, values.T], dim=1)
        numbers = torch.arange(first_pair, first_pair + len(values)).expand(len(self._values), -1)
        self._values, places = together.topk(count, dim=1)
        self._pairs = torch.cat([self._pairs, numbers], dim=1).gather(1, places)

    def pairs(self) -> list[list[int]]:
        """Return the numbers of each atom's pairs, the strongest first; fewer where fewer fire it."""
        rows = zip(self._pairs.tolist(), self._values.tolist(), strict=True)
        return [[pair for pair, value in zip(*row, strict=True) if pair >= 0 and value > 0] for row in rows]
