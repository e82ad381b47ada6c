"""What is fitted, on pairs of the train split: an intervention is then measured on pairs that it has not seen."""

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.evaluation.embeddings import row_labels
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
from isoenergy.statistics.bootstrap import Labels
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement, pairs_of_one_image
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

    Agreement is summed once more of `StrangerPairs`: what the test finds there is what it finds in nothing. Texts of
    one image are apart in them, and count as independent.
    """
    del inputs
    shards = config.store.shards
    sae = None if config.sae is None else SparseAutoencoder.load(config.sae.uri)
    statistics = None if sae is None else ConceptStatistics.zeros(sae.config.atoms)
    agreement, shuffled = (PairAgreement.zeros(0 if sae is None else sae.config.atoms) for _ in range(2))
    strangers = StrangerPairs(shuffled)
    moments = PairMoments.zeros(config.store.dim)
    images: list[Labels] = [np.zeros(0, np.uint64)]
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
            images.append(row_labels(both[0]))
            strangers.update(codes[0], codes[1])
    moments.save(output / MOMENTS_FILE)
    if statistics is not None:
        statistics.save(output / STATISTICS_FILE)
        agreement.of_one_image = pairs_of_one_image(np.concatenate(images))
        agreement.save(output / AGREEMENT_FILE)
        strangers.finish()
        shuffled.save(output / SHUFFLED_FILE)
    return {"pairs": moments.pairs, "split": config.store.split}


@dataclass
class StrangerPairs:
    """Pairs that are none, of a stream of pairs: texts are dealt out at random among some thousands that come together.

    So captions of one image, which stand together (COCO has five), are dispersed, whatever the size of a shard. An
    image never gets its own text; another caption of its own, d of which are among n pairs, with a chance of d / n.
    """

    sums: PairAgreement
    """Where they are added."""
    least: int = READ_ROWS
    """Pairs among which texts are dealt out, or all if there are fewer; less than three times as many are kept."""
    _waiting: list[tuple[SparseCodes, SparseCodes]] = field(default_factory=list)
    _waiting_pairs: int = 0
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def update(self, image_codes: SparseCodes, text_codes: SparseCodes) -> None:
        """Take up pairs: row i of both codes belong together; any number of them, up to `least`."""
        self._waiting.append((concatenate([image_codes], 0), concatenate([text_codes], 0)))  # without residuals
        self._waiting_pairs += len(image_codes)
        if self._waiting_pairs >= 2 * self.least:
            self._deal(self.least)

    def finish(self) -> None:
        """Deal out what is left, after the last pairs."""
        if self._waiting:
            self._deal(self._waiting_pairs)

    def _deal(self, pairs: int) -> None:
        both = [concatenate(codes, 0).split(pairs) for codes in zip(*self._waiting, strict=True)]
        (images, images_left), (texts, texts_left) = both
        self._waiting, self._waiting_pairs = [(images_left, texts_left)], len(images_left)
        self.sums.update(images, texts.rows(torch.from_numpy(_others(len(texts), self._random))))


def _others(pairs: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """`(pairs,)`: the numbers of all pairs in random order, none in its own place but a single one."""
    own = np.arange(pairs)
    others = random.permutation(own)
    while pairs > 1 and (others == own).any():
        others = random.permutation(own)
    return others


@dataclass(frozen=True)
class Fitted:
    """What `fit` found."""

    moments: PairMoments
    statistics: ConceptStatistics | None
    """Of an SAE."""

    @classmethod
    def load(cls, folder: Path, cross: bool = False) -> Self:
        """Read what `fit` wrote; cross: with the cross-moments."""
        file = folder / STATISTICS_FILE
        statistics = ConceptStatistics.load(file, cross) if file.exists() else None
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
