"""What an evaluation comes to, of arrays in memory: the headline numbers, each with its interval over pairs.

`isoenergy evaluate` measures all that the paper measures, at any size; this is its short form, by the same functions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.errors import InputError
from isoenergy.evaluation.concepts import concept_intervals
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.evaluation.measured_geometry import gap_closed
from isoenergy.evaluation.measured_retrieval import recall_kept
from isoenergy.fitting import LEAST_PAIRS, Fit, require_autoencoder
from isoenergy.interventions.removal import Intervention, intervene, kept_atoms
from isoenergy.metrics.geometry import difference_in_means, probing_accuracy
from isoenergy.metrics.retrieval import TIE, hits_of_any_partner
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.float_arrays import as_float_array
from isoenergy.settings.numbers import whole_number
from isoenergy.statistics.bootstrap import REPLICATES, Interval, Labels, image_weights, no_intervals, sample_weights
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics
from isoenergy.statistics.weighted_sums import BootstrapSums, MeanSums, weighted_mean
from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import usable_vectors
from isoenergy.store.given_pairs import GivenPairs

if TYPE_CHECKING:
    import pandas as pd

Rows = Tensor | np.ndarray
Pair = tuple[Tensor, Tensor]
Codes = tuple[SparseCodes, SparseCodes]

RANKS = (1, 5, 10)
_BLOCK_ROWS = 4096
_LEAST_VARIANCE = 1e-9
"""As a share of the rows' squares; less is rounding, and rows that are all one have none."""
_VARIANTS: tuple[Intervention, ...] = ("reconstructed", "bimodal")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    pairs: int
    measures: Mapping[str, Interval]
    """By name: the number, and where 95 % of bootstrap samples of the pairs put it. They say nothing of how another
    training would come out."""
    classes: AtomClasses
    classes_of: str
    """Which pairs the classes were cut on."""
    no_intervals: str = ""
    """Why the measures' bounds are NaN, or those of what is asked, if they are: of few images there are none."""

    def __getitem__(self, name: str) -> Interval:
        return self.measures[name]

    def frame(self) -> "pd.DataFrame":
        """Return a table of pandas: a row a measure; `value`, `low`, `high`."""
        import pandas as pd

        rows = [(found.value, found.low, found.high) for found in self.measures.values()]
        index = pd.Index(list(self.measures), name="measure")
        return pd.DataFrame(rows, columns=["value", "low", "high"], index=index)

    def __repr__(self) -> str:
        width = max(map(len, self.measures))
        lines = [
            f"{name:{width}}  {found.value:7.3f}" + f"  [{found.low:.3f}, {found.high:.3f}]" * (not np.isnan(found.low))
            for name, found in self.measures.items()
        ]
        why = f"; no intervals: {self.no_intervals}" if self.no_intervals else ""
        return "\n".join([f"{self.pairs:,} pairs; classes of atoms cut on {self.classes_of}{why}", *lines])


def evaluate(
    sae: SparseAutoencoder | Fit,
    images: Rows | EmbeddingStore | str | Path,
    texts: Rows | None = None,
    *,
    statistics: ConceptStatistics | None = None,
    queries: int = 1500,
    seed: int = 0,
) -> Evaluation:
    """Measure an autoencoder on pairs that it was not trained on.

    images, texts: `(pairs, dim)` raw embeddings, row i of one with row i of the other; or, in place of both, what `fit`
    takes: an embedding store, or a path, whose test split is measured. statistics: of the pairs that atoms' classes are
    cut on; default: those that `fit` trained on; of an autoencoder alone, these pairs themselves, which makes rare
    atoms look unimodal. queries: pairs, drawn at random, whose image and text are looked for among all, and on which
    atoms are probed; only its own other half is right for one, whatever other captions its image has. seed: of the draw
    and of the bootstrap, in which pairs of one image, whose unit rows of `images` are equal, are drawn together.

    r2, r2_centred (paper 1.6, and about each modality's mean); p_acc (1.7); the energy of bimodal, image and text atoms
    (1.5); the gap, a difference in means (1.11), of unit rows, of what is rebuilt and of its bimodal part, and how much
    of it the removal of unimodal atoms closes; R@1, 5, 10, mean of both directions, of the same, and what is kept.

    Raises InputError, naming the argument, for shapes that differ, for fewer than two pairs, for rows that are zero or
    not finite, for no queries and for what is no autoencoder.
    """
    queries, seed = whole_number("queries", queries, 1), whole_number("seed", seed, 0)
    if isinstance(sae, Fit):
        statistics = statistics or sae.statistics
        sae = sae.sae
    require_autoencoder("sae", sae)
    images, texts = _both(images, texts)
    rows = _prepared(sae, images, texts)
    pairs = len(rows[0])
    unit = _unit(images, texts)
    labels = row_labels(unit[0].numpy())
    sums, known = BootstrapSums.zeros(sae.config.atoms), ConceptStatistics.zeros(sae.config.atoms)
    means, prepared = MeanSums.zeros(sae.config.dim), MeanSums.zeros(sae.config.dim)
    gram = sae.gram_of_frozen(2 * pairs)
    parts: list[Codes] = []
    for block, weights in _blocks(labels, seed):
        block_rows = rows[0][block], rows[1][block]
        with torch.no_grad():
            part = sae.encode(block_rows[0], gram=gram), sae.encode(block_rows[1], gram=gram)
        sums.update(part, block_rows, weights)
        known.update(*part)
        means.update(unit[0][block], unit[1][block], weights)
        prepared.update(*block_rows, weights)
        parts.append(part)
    different = len(np.unique(labels))
    sums, means, prepared = sums.if_enough(different), means.if_enough(different), prepared.if_enough(different)
    codes = concatenate([part[0] for part in parts], 1), concatenate([part[1] for part in parts], 1)
    classes_of = "these pairs" if statistics is None else "those of the training"
    statistics = statistics or known
    classes = statistics.classes()
    asked = np.random.default_rng(seed).permutation(pairs)[:queries]
    found = (
        _concepts(sae, sums, statistics, prepared)
        | {"p_acc": _probing(sae, sums, statistics, rows, asked, labels, seed)}
        | _gaps(sae, sums, means, classes)
        | _recalls(sae, codes, unit, classes, asked, labels, seed)
    )
    few = no_intervals(different) or no_intervals(len(np.unique(labels[asked])), "images that are asked")
    return Evaluation(pairs, found, classes, classes_of, few)


def _concepts(
    sae: SparseAutoencoder,
    sums: BootstrapSums,
    statistics: ConceptStatistics,
    prepared: MeanSums,
) -> dict[str, Interval]:
    intervals = concept_intervals(sums, statistics.classes(), sae.config.dim)
    variance = sums.squares - np.stack([np.square(mean).sum(axis=0) for mean in prepared.means]) * sums.pairs
    variance[variance <= _LEAST_VARIANCE * sums.squares] = np.nan
    centred = 1 - (sums.errors / variance).mean(axis=0)
    return {
        "r2": intervals["r2"],
        "r2_centred": Interval.of_weighted(centred, most=1.0),
        **{f"{name}_energy": intervals[f"{name}_energy_share"] for name in ("bimodal", "image_only", "text_only")},
    }


def _probing(
    sae: SparseAutoencoder,
    sums: BootstrapSums,
    statistics: ConceptStatistics,
    rows: Pair,
    asked: npt.NDArray[np.int64],
    labels: Labels,
    seed: int,
) -> Interval:
    weights = sample_weights(labels[asked], REPLICATES, seed)
    images, texts = (part[torch.from_numpy(asked)].numpy() for part in rows)
    dictionary = sae.dictionary.detach().numpy()
    return Interval.of_share(probing_accuracy(images, texts, dictionary, statistics, weights, sums.energy))


def _gaps(sae: SparseAutoencoder, sums: BootstrapSums, means: MeanSums, classes: AtomClasses) -> dict[str, Interval]:
    dictionary = sae.dictionary.detach().double().numpy()
    gaps = {
        name: difference_in_means(*sums.rebuilt_means(dictionary, kept_atoms(name, classes).numpy()))
        for name in _VARIANTS
    }
    return {
        "gap": Interval.of_norm(difference_in_means(*means.means)),
        **{f"gap_{name}": Interval.of_norm(gap) for name, gap in gaps.items()},
        "gap_closed": gap_closed(gaps["reconstructed"], gaps["bimodal"]),
    }


def _recalls(
    sae: SparseAutoencoder,
    codes: Codes,
    unit: Pair,
    classes: AtomClasses,
    asked: npt.NDArray[np.int64],
    labels: Labels,
    seed: int,
) -> dict[str, Interval]:
    weights = sample_weights(labels[asked], REPLICATES, seed)
    partners = sparse.csr_array((np.ones(len(asked)), (np.arange(len(asked)), asked)), (len(asked), len(unit[0])))
    variants: dict[str, Pair] = {"": unit}
    for name in _VARIANTS:
        keep = kept_atoms(name, classes)
        variants[f"_{name}"] = intervene(sae, codes[0], keep), intervene(sae, codes[1], keep)
    recalls = {}
    for shown, (images, texts) in variants.items():
        hits = [
            hits_of_any_partner(queries[torch.from_numpy(asked)], gallery, partners, RANKS, TIE)
            for queries, gallery in ((images, texts), (texts, images))
        ]
        for rank in RANKS:
            both = ((hits[0][rank] + hits[1][rank]) / 2).numpy()
            recalls[f"r@{rank}{shown}"] = weighted_mean(both, weights)
    found = {measure: Interval.of_share(recall) for measure, recall in recalls.items()}
    return found | {"r@10_kept": recall_kept(recalls["r@10_reconstructed"], recalls["r@10_bimodal"])}


def _both(images: Rows | EmbeddingStore | str | Path, texts: Rows | None) -> tuple[Rows, Rows]:
    """Return both modalities' rows: those given, or those of the test split of what is given in place of both."""
    if isinstance(images, EmbeddingStore | str | Path) and texts is None:
        return GivenPairs.at(images, "test").two("evaluate")
    if isinstance(images, EmbeddingStore | str | Path) or texts is None:
        raise InputError("give images and texts as two arrays, or an embedding store, or a path, in place of both")
    return images, texts


def _prepared(sae: SparseAutoencoder, images: Rows, texts: Rows) -> Pair:
    if len(images) != len(texts):
        raise InputError(
            f"images and texts have {len(images)} and {len(texts)} rows; give row i of one with row i of the other"
        )
    if len(images) < LEAST_PAIRS:
        raise InputError(
            f"images and texts must hold {LEAST_PAIRS} pairs or more, got {len(images)}: of one, each is the other's "
            f"nearest, and nothing varies"
        )
    for name, given in (("images", images), ("texts", texts)):
        usable_vectors(name, given)
    with torch.no_grad():
        image, text = (
            sae.prepare(rows, modality) for rows, modality in zip((images, texts), sae.config.modalities, strict=True)
        )
    return image, text


def _unit(images: Rows, texts: Rows) -> Pair:
    image, text = (
        normalize(rows.float() if isinstance(rows, Tensor) else torch.from_numpy(as_float_array(rows)).float(), dim=1)
        for rows in (images, texts)
    )
    return image, text


def _blocks(labels: Labels, seed: int) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Yield slices of the pairs, and the bootstrap weights of each; labels: of the pairs' images."""
    for start in range(0, len(labels), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        yield block, image_weights(labels[block], REPLICATES, seed)
