"""Retrieval under each variant: queries against the full gallery, part by part, and the paper's batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from scipy import sparse
from torch import Tensor

from isoenergy.evaluation.concepts import PairCodes, load_codes
from isoenergy.evaluation.embedding_variants import VariantSet, original_variants, rebuilding, sae_variants
from isoenergy.evaluation.embeddings import DIRECTIONS, Direction, HeldPairs, gallery_rows, row_labels
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import DrawnConfig, Inputs, PartConfig, Result, Rows, unit_rows
from isoenergy.evaluation.ways import HEADLINE, beginning
from isoenergy.metrics.nearer_rows import Asking
from isoenergy.metrics.protocol import PAPER_BATCH
from isoenergy.metrics.retrieval import (
    TIE,
    chance_of_hit,
    directions,
    hits_in_batches,
    not_zero,
)
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.bootstrap import REPLICATES, Interval, sample_weights
from isoenergy.statistics.weighted_sums import weighted_mean

RANKS = (1, 5, 10)
_COUNTS_FILE = "counts.safetensors"
_REPLICATES_FILE = "recall.safetensors"
_ZEROS = "zero_rows"
_BLOCK_ROWS = 2048
"""Of a gallery that are altered together: what each variant makes of them stays in cache."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
BaseRows = Callable[[str], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SearchPartConfig:
    """A part of the gallery."""

    part: PartConfig
    retrieval: DrawnConfig


@dataclass(frozen=True)
class _Sought(Asking):
    """The queries of one direction under one variant: unit rows, or zeros.

    What is nearest is at -∞ where what is right, or the query, is zero.
    """

    right: Tensor
    """`(n,)` how many right rows are that near."""


def search_part(config: SearchPartConfig, inputs: Inputs, output: Path) -> Result:
    """Count, for each query and variant, the gallery rows of this part that are nearer than what is right.

    Those up to where it is a miss, that is; and, of all rows of this part, those that a variant has made zero.
    """
    setup = _Setup.of(config.retrieval, inputs)
    sought = setup.sought()
    counts: dict[str, Counts] = {name: np.zeros((2, len(each.queries)), np.int64) for name, each in sought.items()}
    for first, rows, pairs in setup.gallery(config.part, inputs):
        inside = [torch.from_numpy(gallery_rows(inputs["pairs"], m, first, pairs)) for m in MODALITIES]
        for variant, *both in setup.variants.each(rows, sweeps=False):
            galleries = [directions(each) for each in both]
            known = [not_zero(each) for each in galleries]
            for number, direction in enumerate(DIRECTIONS):
                name, other = f"{variant.name}.{direction}", 1 - number
                _count(sought[name], _chosen(galleries[other], inside[other] & known[other]), counts[name])
            name = f"{variant.name}.{_ZEROS}"
            counts[name] = counts.get(name, 0) + np.array([int((~each).sum()) for each in known])
    save_file(counts, output / _COUNTS_FILE)
    return {"variants": len(counts) // (len(DIRECTIONS) + 1)}


def merge_search(config: DrawnConfig, inputs: Inputs, output: Path) -> Result:
    """Return each variant's recall in the full gallery and in the paper's batches, with intervals over pairs.

    `change` and `kept` are against what the variant begins with, see `beginning`; of an SAE that may be the embeddings,
    whose results are the input `original`. A direction without queries, as each caption is that of hundreds of images,
    has none: the mean is of the other. `zero_rows`: how many images, and texts, of all pairs are zero under a variant;
    they are never hits.
    Writes the recalls under every bootstrap weight, so that those of other SAEs, on the same pairs, can be compared.
    """
    setup = _Setup.of(config, inputs)
    counts = _summed([load_file(folder / _COUNTS_FILE) for name, folder in inputs.items() if name.startswith("part")])
    weights = sample_weights(row_labels(setup.held.images[: config.drawn]), REPLICATES, config.draw.seed)
    found, recalls = _in_full_gallery(setup, counts, weights)
    in_batches, sweeps = _in_batches(setup, config.draw.in_batches, weights)
    recalls |= in_batches
    save_file(recalls, output / _REPLICATES_FILE)
    begun = recalls if config.sae is None else load_file(inputs["original"] / _REPLICATES_FILE) | recalls
    for name, values in recalls.items():
        shown, measure = name.split(".")
        before = begun[f"{beginning(shown, config.sae is not None)}.{measure}"]
        change = values - before
        found[shown][measure] = asdict(Interval.of_share(values))
        found[shown][f"change_{measure}"] = asdict(Interval.of(change[0], change[1:]))
        found[shown][f"kept_{measure}"] = asdict(recall_kept(before, values))
    return {**found, "sweeps": sweeps}


def _summed(parts: Sequence[Mapping[str, Counts]]) -> dict[str, Counts]:
    return {name: np.sum([part[name] for part in parts if name in part], axis=0) for name in set().union(*parts)}


def _in_full_gallery(
    setup: "_Setup", counts: Mapping[str, Counts], weights: Floats
) -> tuple[dict[str, Result], dict[str, Floats]]:
    """Return each variant's recalls by direction with its zero rows, and `(1 + replicates,)` the directions' means."""
    found: dict[str, Result] = {}
    recalls: dict[str, Floats] = {}
    asked = [name for name in DIRECTIONS if len(setup.held.directions[name].queries)]
    for name, sought in setup.sought().items():
        shown, direction = name.split(".")
        nearer, as_near = (torch.from_numpy(count) for count in counts[name])
        by_pair = weights[setup.held.directions[direction].queries]
        measured = found.setdefault(shown, {_ZEROS: _by_modality(counts[f"{shown}.{_ZEROS}"])})
        as_near = as_near.maximum(sought.right)
        hits = np.stack([chance_of_hit(nearer, as_near, rank, sought.right).numpy() for rank in RANKS])
        for rank, recall in zip(RANKS, weighted_mean(hits, by_pair), strict=True):
            measured[f"{direction}_r{rank}"] = float(recall[0])
            if direction in asked:
                both = recalls.get(f"{shown}.r{rank}", 0.0)
                recalls[f"{shown}.r{rank}"] = both + recall / len(asked)
    return found, recalls


def _by_modality(zeros: Counts) -> dict[str, int]:
    return dict(zip(MODALITIES, zeros.tolist(), strict=True))


def _in_batches(
    setup: "_Setup", most: int, weights: Floats
) -> tuple[dict[str, Floats], dict[str, dict[str, dict[str, float]]]]:
    """Return `(1 + replicates,)` each variant's recalls in the paper's batches, and the intervals along each sweep."""
    recalls: dict[str, Floats] = {}
    sweeps: dict[str, dict[str, dict[str, float]]] = {}
    for variant, images, texts in setup.variants.each(setup.held_rows()):
        found = _recall_in_batches(images[:most], texts[:most], weights)
        if variant.sweep:
            name, strength = variant.sweep
            sweeps.setdefault(name, {})[f"{strength:g}"] = asdict(Interval.of_share(found[1]))
        else:
            recalls |= {f"{variant.name}.in_batches_r{rank}": values for rank, values in found.items()}
    return recalls, sweeps


def recall_kept(before: Floats, after: Floats) -> Interval:
    """Return which share of a recall is kept, of what the way begins with: after / before; NaN of none.

    before, after: `(1 + replicates,)` each, of the same draws of queries: the ratio is that of each draw.
    """
    kept = np.divide(after, before, out=np.full(len(before), np.nan), where=before > 0)
    return Interval.of(float(kept[0]), kept[1:])


def load_recalls(folder: Path) -> dict[str, dict[str, Floats]]:
    """Return `(1 + replicates,)` recalls by variant and measure, as `merge_search` wrote them."""
    found: dict[str, dict[str, Floats]] = {}
    for name, values in load_file(folder / _REPLICATES_FILE).items():
        variant, measure = name.split(".")
        found.setdefault(variant, {})[measure] = values
    return found


@dataclass(frozen=True)
class _Setup:
    held: HeldPairs
    variants: VariantSet
    sae: SparseAutoencoder | None
    codes: PairCodes | None
    """Of the held pairs."""

    @classmethod
    def of(cls, config: DrawnConfig, inputs: Inputs) -> "_Setup":
        held, fitted = HeldPairs.load(inputs["pairs"], config.drawn), Fitted.load(inputs["fit"])
        if config.sae is None:
            return cls(held, original_variants(fitted, config.draw.seed), None, None)
        sae = SparseAutoencoder.load(config.sae.uri)
        variants = sae_variants(fitted, sae, config.draw.seed, HEADLINE if config.headline else None)
        return cls(held, variants, sae, load_codes(inputs["held"]))

    def held_rows(self, chosen: Counts | None = None) -> BaseRows:
        """Return what makes a base's rows of the held pairs, or of those at some positions."""
        images, texts, codes = self.held.images, self.held.texts, self.codes
        if chosen is not None:
            images, texts, codes = images[chosen], texts[chosen], _rows_of(codes, torch.from_numpy(chosen))
        return self._rows(images, texts, codes)

    def _rows(self, images: Rows, texts: Rows, codes: PairCodes | None) -> BaseRows:
        if self.sae is None or codes is None:
            unit = unit_rows(images), unit_rows(texts)
            return lambda _: unit
        return rebuilding(self.sae, codes, self.variants, (images, texts))

    def sought(self) -> dict[str, _Sought]:
        """The queries by `variant.direction`."""
        found = {}
        for variant, images, texts in self.variants.each(self.held_rows(self._asked), sweeps=False):
            images, texts = directions(images), directions(texts)
            for name, queries, others in zip(DIRECTIONS, (images, texts), (texts, images), strict=True):
                found[f"{variant.name}.{name}"] = _sought(self._among_asked(name), queries, others)
        return found

    @cached_property
    def _asked(self) -> Counts:
        """Positions of the held pairs that are queries, or right for one."""
        directions = self.held.directions.values()
        return np.unique(np.concatenate([part for d in directions for part in (d.queries, d.partners.indices)]))

    def _among_asked(self, name: str) -> Direction:
        direction = self.held.directions[name]
        partners = direction.partners.tocoo()
        columns = np.searchsorted(self._asked, partners.coords[1])
        shape = (len(direction.queries), len(self._asked))
        chosen = sparse.csr_array((partners.data, (partners.coords[0], columns)), shape)
        return Direction(np.searchsorted(self._asked, direction.queries), chosen)

    def gallery(self, part: PartConfig, inputs: Inputs) -> Iterator[tuple[int, BaseRows, int]]:
        """Yield some pairs of the part at a time: the first one's number, their rows, how many they are."""
        encoded = None if self.sae is None else load_codes(inputs["codes"])
        for first, images, texts in _in_blocks(part):
            block = slice(first - part.first_pair, first - part.first_pair + len(images))
            yield first, self._rows(images, texts, _rows_of(encoded, block)), len(images)


def _rows_of(codes: PairCodes | None, chosen: slice | Tensor) -> PairCodes | None:
    return None if codes is None else (codes[0].rows(chosen), codes[1].rows(chosen))


def _in_blocks(part: PartConfig) -> Iterator[tuple[int, Rows, Rows]]:
    for first, images, texts in part.read():
        for start in range(0, len(images), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            yield first + start, images[block], texts[block]


def _sought(direction: Direction, queries: Tensor, others: Tensor) -> _Sought:
    asking = queries[torch.from_numpy(direction.queries)]
    partners = direction.partners.tocoo()
    query, partner = (torch.from_numpy(np.asarray(index, np.int64)) for index in partners.coords)
    known = not_zero(asking)[query] & not_zero(others)[partner]
    cosine = torch.where(known, (asking[query].double() * others[partner].double()).sum(1), -torch.inf)
    nearest = torch.full((len(asking),), -torch.inf, dtype=torch.float64).scatter_reduce(0, query, cosine, "amax")
    as_near = (known & (cosine >= nearest[query] - TIE)).long()
    return _Sought(
        asking, nearest.unsqueeze(1), torch.zeros(len(asking), dtype=torch.long).index_add(0, query, as_near)
    )


def _chosen(rows: Tensor, mask: Tensor) -> Tensor:
    return rows if mask.all() else rows[mask]


def _count(sought: _Sought, gallery: Tensor, counts: Counts) -> None:
    """Add, `(2, n)`, how many gallery rows are nearer than what is right, and how many are as near.

    A query is a miss if what is right is zero, or once as many rows are nearer as the largest rank: it is counted no
    further. gallery: `(rows, out)`, none of them zero.
    """
    wanted = np.where(np.isneginf(sought.nearest.numpy()[:, 0]), 0, max(RANKS) - counts[0])
    counts += sought.count(gallery, TIE, wanted)


def _recall_in_batches(images: Tensor, texts: Tensor, weights: Floats) -> dict[int, Floats]:
    """Recall by rank, `(1 + replicates,)`, both directions averaged; the pairs are in random order already."""
    hits = hits_in_batches(images, texts, RANKS)
    used = weights[: len(images) // PAPER_BATCH * PAPER_BATCH]
    means = weighted_mean(np.stack([hits[rank].mean(1).numpy() for rank in RANKS]), used)
    return dict(zip(RANKS, means, strict=True))
