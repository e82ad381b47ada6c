"""What is fitted, on pairs of the train split: an intervention is then measured on pairs that it has not seen."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

import torch

from isoenergy.evaluation.measured_rows import (
    READ_ROWS,
    Inputs,
    Result,
    SaeReference,
    StoreReference,
    UnitRows,
    split_units,
    tensor,
    unit_rows,
)
from isoenergy.pairs.splits import Pairs
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.store import EmbeddingStore

MOMENTS_FILE = "moments.safetensors"
STATISTICS_FILE = "statistics.safetensors"
AGREEMENT_FILE = "agreement.safetensors"
SHUFFLED_FILE = "shuffled-agreement.safetensors"


@dataclass(frozen=True)
class FitConfig:
    """Pairs to fit on: all of these units, or the first so many."""

    store: StoreReference
    units: tuple[UnitRows, ...]
    most_pairs: int
    sae: SaeReference | None = None
    """None: fit on the embeddings, of unit norm; else on what it rebuilds of them."""


def spread_units(store: EmbeddingStore, split: Pairs, pairs: int) -> tuple[UnitRows, ...]:
    """Return units from all over the store that hold about so many pairs of a split, of which there are some."""
    units = list(split_units(store, split))
    wanted = max(1, ceil(len(units) * min(1, pairs / store.pairs_in(split))))
    return tuple(units[number * len(units) // wanted] for number in range(wanted))


def spread_fit(store: EmbeddingStore, split: Pairs, pairs: int) -> FitConfig:
    """Return what fits on about so many pairs of a split from all over the store; of some SAE by `replace`."""
    return FitConfig(StoreReference.of(store, split), spread_units(store, split, pairs), pairs)


def fit(config: FitConfig, inputs: Inputs, output: Path) -> Result:
    """Sum the moments that the baselines are made from and, of an SAE, what decides its atoms' classes and agreement.

    Agreement is summed once more with the texts moved on by one pair: what the test finds there is what it finds in
    nothing.
    """
    del inputs
    shards = config.store.shards
    sae = None if config.sae is None else SparseAutoencoder.load(config.sae.uri)
    statistics = None if sae is None else ConceptStatistics.zeros(sae.config.atoms)
    agreement, shuffled = (PairAgreement.zeros(0 if sae is None else sae.config.atoms) for _ in range(2))
    moments = PairMoments.zeros(config.store.dim)
    gram = None if sae is None else sae.gram_of_frozen(rows=2 * config.most_pairs)
    for unit in config.units:
        arrays = shards.pairs(unit.shard, config.store.split)
        most = min(len(arrays), config.most_pairs - moments.pairs)
        for start in range(0, most, READ_ROWS):
            both = [rows[start : min(start + READ_ROWS, most)] for rows in (arrays.images, arrays.texts)]
            if sae is None or statistics is None:
                moments.update(unit_rows(both[0]), unit_rows(both[1]))
                continue
            with torch.no_grad():
                prepared = (sae.prepare(tensor(x), m) for x, m in zip(both, sae.config.modalities, strict=True))
                codes = [sae.encode(x, gram=gram) for x in prepared]
                moments.update(sae.decode(codes[0]), sae.decode(codes[1]))
            statistics.update(codes[0], codes[1])
            agreement.update(codes[0], codes[1])
            shuffled.update(codes[0], codes[1].moved_on())
    moments.save(output / MOMENTS_FILE)
    if statistics is not None:
        statistics.save(output / STATISTICS_FILE)
        agreement.save(output / AGREEMENT_FILE)
        shuffled.save(output / SHUFFLED_FILE)
    return {"pairs": moments.pairs, "split": config.store.split}


@dataclass(frozen=True)
class Fitted:
    """What `fit` found."""

    moments: PairMoments
    statistics: ConceptStatistics | None
    """Of an SAE."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `fit` wrote."""
        file = folder / STATISTICS_FILE
        statistics = ConceptStatistics.load(file) if file.exists() else None
        return cls(PairMoments.load(folder / MOMENTS_FILE), statistics)

    @property
    def classes(self) -> AtomClasses:
        """The atoms' classes by their energies on the fitted pairs."""
        return self.known.classes()

    @property
    def known(self) -> ConceptStatistics:
        """The statistics; of an SAE only."""
        if self.statistics is None:
            raise ValueError("embeddings without an SAE have no atoms")
        return self.statistics


def load_agreement(folder: Path) -> tuple[PairAgreement, PairAgreement]:
    """Return how an SAE's atoms go together in the fitted pairs, and in these with texts of other pairs."""
    pairs, shuffled = (PairAgreement.load(folder / name) for name in (AGREEMENT_FILE, SHUFFLED_FILE))
    return pairs, shuffled
