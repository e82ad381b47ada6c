"""Tasks measured on embeddings as they are, on what an autoencoder rebuilds of them, and without classes of atoms.

Every step returns rows: the embeddings' name, the group of queries if any, and measures with their intervals.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.evaluation.embedding_variants import (
    VariantSet,
    original_variants,
    rebuilding,
    sae_variants,
)
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import READ_ROWS, Inputs, Result, Rows, SaeReference, tensor, unit_rows
from isoenergy.evaluation.tasks.task_sets import ComposedSet, MixedSet, ProbeSet, ZeroShotSet
from isoenergy.evaluation.ways import ORIGINAL, RECONSTRUCTED, WAYS
from isoenergy.metrics.retrieval import TIE, hits_of_any_partner
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.bootstrap import REPLICATES, Interval, if_enough, poisson_weights
from isoenergy.statistics.weighted_sums import weighted_mean
from isoenergy.tasks.composed_retrieval import Triplets, composed_retrieval, image_distances, told_apart
from isoenergy.tasks.linear_probe import probe
from isoenergy.tasks.mixed_retrieval import Modality, among_documents
from isoenergy.tasks.prompts import class_embeddings
from isoenergy.tasks.zero_shot import zero_shot

CENTRED, BIMODAL, UNIMODAL = "centred", "bimodal", "unimodal"
_ALL = tuple(name for name, way in WAYS.items() if way.task)
_ORDER = ("source", "text", "sum", *_ALL, *(f"{name}_sum" for name in _ALL))
_EDGES = np.linspace(0, 1.5, 121)
"""Of the histogram of distances; what lies beyond counts as the last."""
_COMPOSED_RANKS = (1, 10, 50)
_RETRIEVAL_RANKS = (1, 5, 10)


@dataclass(frozen=True)
class MeasureConfig:
    """Which embeddings: an SAE's, or, None, those as they are; the seed decides the bootstrap."""

    sae: SaeReference | None
    seed: int


def measure_zero_shot(config: MeasureConfig, inputs: Inputs, output: Path) -> Result:
    """Classify images by their nearest class."""
    del output
    given = ZeroShotSet.load(inputs["set"])
    weights = _weights(len(given.labels), config.seed)
    return {
        "rows": _ordered(
            _row(name, zero_shot(images, class_embeddings(prompts, len(given.names)), given.labels, weights))
            for name, images, prompts in _embeddings(config, inputs, given.images, given.prompts, _ALL)
        )
    }


def measure_probe(config: MeasureConfig, inputs: Inputs, output: Path) -> Result:
    """Train and test a linear probe on images."""
    del output
    given = ProbeSet.load(inputs["set"])
    weights = _weights(len(given.test_labels), config.seed)
    both, none = np.concatenate([given.train, given.test]), given.train[:0]
    split, rows = len(given.train), []
    probed = [name for name in _ALL if WAYS[name].linear is None]  # a linear classifier can undo nearly all of one
    for name, images, _ in _embeddings(config, inputs, both, none, probed):
        train, test = images[:split].numpy(), images[split:].numpy()
        rows.append(_row(name, probe(train, given.train_labels, test, given.test_labels, weights)))
    return {"rows": _ordered(rows)}


def measure_mixed(config: MeasureConfig, inputs: Inputs, output: Path) -> Result:
    """Look texts and images up among documents of both modalities."""
    del output
    given = MixedSet.load(inputs["set"])
    queries: dict[Modality, npt.NDArray[np.int64]] = {"text": given.text_queries, "image": given.image_queries}
    weights = {m: _weights(len(q), config.seed, n << 32) for n, (m, q) in enumerate(queries.items())}
    gallery = given.gallery
    looked_up = [gallery.asked(modality, numbers) for modality, numbers in queries.items()]
    rows = []
    for name, images, texts in _embeddings(config, inputs, given.images, given.texts, _ALL):
        values = {}
        documents = gallery.rows(images, texts)
        for asked in looked_up:
            modality = asked.modality
            found = among_documents(gallery, documents, images if modality == "image" else texts, asked)
            values[f"ndcg_{modality}"] = Interval.of_share(weighted_mean(found.ndcg, weights[modality]))
            finding = ~np.isnan(found.own_modality)
            own = weighted_mean(found.own_modality[finding], weights[modality][finding])
            values[f"own_{modality}"] = Interval.of_share(own)
        rows.append(_row(name, values))
    return {"rows": _ordered(rows)}


def measure_retrieval(config: MeasureConfig, inputs: Inputs, output: Path) -> Result:
    """Look images up among all texts, and texts among all images."""
    del output
    given = MixedSet.load(inputs["set"])
    partners = _partners(given)
    weights = _weights(len(given.images), config.seed)
    by_query = {"image_to_text": weights, "text_to_image": weights[given.text_label]}
    rows = []
    for name, images, texts in _embeddings(config, inputs, given.images, given.texts, _ALL):
        values = {}
        for direction, queries, gallery, right in (
            ("image_to_text", images, texts, partners),
            ("text_to_image", texts, images, partners.T.tocsr()),
        ):
            for rank, hits in hits_of_any_partner(queries, gallery, right, _RETRIEVAL_RANKS, TIE).items():
                values[f"{direction}_r{rank}"] = Interval.of_share(weighted_mean(hits.numpy(), by_query[direction]))
        rows.append(_row(name, values))
    what = (
        f"{len(given.images):,} images looked up among {len(given.texts):,} texts, and the other way round; right are "
        f"all texts of an image"
    )
    return {"rows": _ordered(rows), "what": what}


def measure_composed(config: MeasureConfig, inputs: Inputs, output: Path) -> Result:
    """Look for targets with the source alone, the change alone, and their sum; see `_queries`.

    The images are those of the store, as they are (or centred); it is the change that an SAE rebuilds.
    """
    del output
    given = ComposedSet.load(inputs["set"])
    triplets = Triplets(given.source, given.target, given.added, given.removed, given.gallery)
    weights = _weights(len(given.images), config.seed)[given.source]
    groups = {"all": np.ones(len(given.source), bool)}
    groups |= {name: given.group == place for place, name in enumerate(given.names)}
    rows: list[Result] = []
    shares: dict[str, list[float]] = {}
    for name, images, queries in _queries(config, inputs, given, triplets):
        real = image_distances(images, given.target, given.gallery)
        found = composed_retrieval(queries, images, triplets)
        hits = {rank: found.hits(rank) for rank in _COMPOSED_RANKS}
        shares[name] = _histogram(found.distance)
        if config.sae is None:
            shares.setdefault("targets", _histogram(real))
        for group, inside in groups.items():
            by_query = if_enough(weights[inside], len(np.unique(given.source[inside])))
            youden = told_apart(real[inside], found.distance[inside], by_query)
            values = {
                f"r{rank}": Interval.of_share(weighted_mean(each[inside], by_query)) for rank, each in hits.items()
            }
            far = weighted_mean(found.distance[inside], by_query)
            values["distance"] = Interval.of_weighted(far, least=0.0, most=2.0)
            values["told_apart"] = Interval.of_share(youden)
            rows.append({**_row(name, values), "group": group, "queries": int(inside.sum())})
    return {"rows": _ordered(rows), "histogram": {"edges": _EDGES.tolist(), "shares": shares}}


def _queries(
    config: MeasureConfig, inputs: Inputs, given: ComposedSet, triplets: Triplets
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield a name, the gallery's images and the queries.

    Of the embeddings: source alone, change alone, sum; the sum of centred ones. Of an SAE: the source as it is plus the
    change rebuilt from all, bimodal or unimodal atoms: decoding is linear, so that this is the sum of the texts' codes.
    """
    if config.sae is None:
        for name, images, texts in _embeddings(config, inputs, given.images, given.texts, (ORIGINAL, CENTRED)):
            source, delta = images[torch.from_numpy(given.source)], triplets.deltas(texts)
            if name == ORIGINAL:
                yield "source", images, source
                yield "text", images, delta
            yield "sum" if name == ORIGINAL else f"{name}_sum", images, source + delta
        return
    images = SparseAutoencoder.load(config.sae.uri).prepare(tensor(given.images), "image")
    source = images[torch.from_numpy(given.source)]
    kept = (RECONSTRUCTED, BIMODAL, UNIMODAL)
    for name, _, texts in _embeddings(config, inputs, given.images[:0], given.texts, kept):
        yield f"{name}_sum", images, source + triplets.deltas(texts)


def _embeddings(
    config: MeasureConfig, inputs: Inputs, images: Rows, texts: Rows, names: Collection[str]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield images and texts under those of the variants that are named; classes and means are those fitted."""
    fitted = Fitted.load(inputs["fit"])
    if config.sae is None:
        unit = unit_rows(images), unit_rows(texts)
        yield from _by_name(original_variants(fitted, config.seed, names), lambda _: unit)
        return
    sae = SparseAutoencoder.load(config.sae.uri)
    gram = sae.gram_of_frozen(rows=len(images) + len(texts))
    image, text = (_codes(sae, part, m, gram) for part, m in zip((images, texts), MODALITIES, strict=True))
    variants = sae_variants(fitted, sae, config.seed, names)
    yield from _by_name(variants, rebuilding(sae, (image, text), variants, (images, texts)))


def _by_name(
    variants: VariantSet, rows: Callable[[str], tuple[Tensor, Tensor]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    for variant, images, texts in variants.each(rows):
        yield variant.name, images, texts


def _weights(rows: int, seed: int, first: int = 0) -> npt.NDArray[np.float64]:
    return if_enough(poisson_weights(rows, REPLICATES, seed, first), rows)


@torch.no_grad()
def _codes(sae: SparseAutoencoder, rows: Rows, modality: str, gram: Tensor | None) -> SparseCodes:
    blocks = (rows[start : start + READ_ROWS] for start in range(0, len(rows), READ_ROWS))
    return concatenate([sae.encode(sae.prepare(tensor(block), modality), gram=gram) for block in blocks], sae.config.k)


def _partners(given: MixedSet) -> sparse.csr_array:
    """`(images, texts)`: texts by the number of their image."""
    count = len(given.texts)
    return sparse.csr_array((np.ones(count), (given.text_label, np.arange(count))), shape=(len(given.images), count))


def _row(name: str, values: dict[str, Interval]) -> Result:
    return {"embeddings": name, "values": {measure: asdict(value) for measure, value in values.items()}}


def _ordered(rows: Iterable[Result]) -> list[Result]:
    """Bases came in the order that decodes each once."""
    return sorted(rows, key=lambda row: _ORDER.index(row["embeddings"]))


def _histogram(distances: npt.NDArray[np.float64]) -> list[float]:
    known = distances[~np.isnan(distances)].clip(max=_EDGES[-1])
    shares: list[float] = (np.histogram(known, _EDGES)[0] / max(len(known), 1)).tolist()
    return shares
