"""A large population of pairs whose numbers are known, and the intervals that samples of it give for them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder, SparseCodes
from isoenergy.evaluation.concepts import agreeing_interval, concept_intervals
from isoenergy.evaluation.measured_bridges import rho_interval
from isoenergy.evaluation.measured_geometry import gap_closed
from isoenergy.evaluation.measured_retrieval import recall_kept
from isoenergy.metrics.agreement import mean_correlation
from isoenergy.metrics.bridges import sigma_bridge
from isoenergy.metrics.geometry import difference_in_means, probing_accuracy
from isoenergy.metrics.gram_panels import gram_at
from isoenergy.metrics.retrieval import TIE, chance_of_hit, nearer_and_as_near
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import Interval, image_weights
from isoenergy.statistics.concept_statistics import ConceptStatistics, merged_code_matrix
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.statistics.weighted_sums import BootstrapSums, weighted_mean

DIM, ATOMS, K = 48, 160, 6
REPLICATES = 200
PROBED = 2000

Floats = np.ndarray
Pair = tuple[SparseCodes, SparseCodes]


@dataclass(frozen=True)
class Sample:
    """Some pairs: their codes, the rows that were encoded, and which image each is of."""

    codes: Pair
    rows: tuple[Tensor, Tensor]
    images: np.ndarray

    def __len__(self) -> int:
        return len(self.rows[0])

    def take(self, places: np.ndarray) -> "Sample":
        index = torch.from_numpy(places)
        image, text = (SparseCodes(c.indices[index], c.values[index], c.residual[index]) for c in self.codes)
        return Sample((image, text), (self.rows[0][index], self.rows[1][index]), self.images[places])

    @cached_property
    def statistics(self) -> ConceptStatistics:
        found = ConceptStatistics.zeros(ATOMS)
        found.update(*self.codes)
        return found


@dataclass(frozen=True)
class Population:
    """Pairs that samples are drawn from, and others of the same kind, which are fitted on."""

    sae: SparseAutoencoder
    fitted: Sample
    whole: Sample

    @cached_property
    def dictionary(self) -> Floats:
        return self.sae.dictionary.detach().double().numpy()

    @cached_property
    def means(self) -> list[Floats]:
        return [self.sae.decode(codes).detach().double().mean(0).numpy() for codes in self.fitted.codes]


def population(pairs: int, fitted: int, seed: int = 1, captions: int = 1) -> Population:
    """Pairs of concepts of which some are rare, some of one modality, some all but so; and two directions of bias.

    captions: of each image; they stand together, and each says what its image shows in its own way.
    """
    fixed, generator = np.random.default_rng(0), np.random.default_rng(seed)
    atoms = fixed.normal(size=(ATOMS, DIM))
    atoms[1] = 0.4 * atoms[0] + 0.9 * atoms[1]
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    concepts = ATOMS - 2
    frequency = np.minimum(0.25, 1.2 / (fixed.permutation(concepts) + 1) ** 0.9)
    kind, leak = fixed.random(concepts), 0.12 * fixed.random(concepts) ** 3
    shown = generator.random(((pairs + fitted) // captions, concepts)) < frequency
    rows = []
    for side, one_modality in enumerate(((kind >= 0.5) & (kind < 0.75), kind >= 0.75)):
        rate = np.where(kind < 0.5, fixed.uniform(0.3, 1, concepts), np.where(one_modality, 1.0, leak))
        shared = np.repeat(shown, captions, axis=0) if side else shown
        codes = shared * (generator.random(shared.shape) < rate) * generator.gamma(6, 1 / 6, shared.shape)
        noise = 0.12 * generator.normal(size=(len(shared), DIM))
        rows.append(codes @ atoms[2:] + 0.55 * atoms[side] + noise)
    rows[0] = np.repeat(rows[0], captions, axis=0)
    sae = SparseAutoencoder(SaeConfig(DIM, ATOMS, K, 0.0))
    with torch.no_grad():
        sae.dictionary.copy_(torch.from_numpy(atoms))
        image, text = (sae.prepare(x.astype(np.float32), m) for x, m in zip(rows, ("image", "text"), strict=True))
        numbers = np.arange(pairs + fitted, dtype=np.uint64) // np.uint64(captions)
        everything = Sample((sae.encode(image), sae.encode(text)), (image, text), numbers)
    places = np.arange(pairs + fitted)
    return Population(sae, everything.take(places[:fitted]), everything.take(places[fitted:]))


def measured(
    all_pairs: Population, sample: Sample, seed: int, replicates: int = REPLICATES, probed: int = PROBED
) -> dict[str, Interval]:
    """What an evaluation says of a sample, by the functions that its steps call, on the sums that they have."""
    weights = image_weights(sample.images, replicates, seed)
    sums = BootstrapSums.zeros(ATOMS, replicates)
    sums.update(sample.codes, sample.rows, weights)
    fitted = all_pairs.fitted.statistics
    return {
        **concept_intervals(sums, fitted.classes(), DIM, fitted.modality_score),
        **_gaps(all_pairs, sums),
        "p_acc": _p_acc(all_pairs, sample.take(np.arange(min(len(sample), probed))), sums, weights[:probed]),
        "rho": _rho(all_pairs, sample, weights),
        "correlation": _correlation(all_pairs, sums),
    }


def _gaps(all_pairs: Population, sums: BootstrapSums) -> dict[str, Interval]:
    dictionary = all_pairs.dictionary
    every, bimodal = np.ones(ATOMS, bool), all_pairs.fitted.statistics.classes().bimodal
    whole = sums.rebuilt_means(dictionary, every)
    centred = [mean - its[:, None] for mean, its in zip(whole, all_pairs.means, strict=True)]
    means = {"reconstructed": whole, "bimodal": sums.rebuilt_means(dictionary, bimodal), "centred": centred}
    gaps = {name: difference_in_means(*both) for name, both in means.items()}
    found = {f"difference_in_means.{name}": Interval.of_norm(gap) for name, gap in gaps.items()}
    return found | {f"gap_closed.{n}": gap_closed(gaps["reconstructed"], gaps[n]) for n in ("bimodal", "centred")}


def _p_acc(all_pairs: Population, sample: Sample, sums: BootstrapSums, weights: Floats) -> Interval:
    rows = (x.numpy() for x in sample.rows)
    fitted = all_pairs.fitted.statistics
    return Interval.of_share(probing_accuracy(*rows, all_pairs.dictionary, fitted, weights, sums.energy))


def _correlation(all_pairs: Population, sums: BootstrapSums) -> Interval:
    bimodal = all_pairs.fitted.statistics.classes().bimodal
    return Interval.of_weighted(mean_correlation(sums.energy, sums.correlation, bimodal))


def agreeing(all_pairs: Population, sample: Sample, seed: int) -> dict[str, Interval]:
    """The share of the bimodal energy in atoms that agree in a sample, by the test there; more pairs find more."""
    weights = image_weights(sample.images, REPLICATES, seed)
    sums, together = BootstrapSums.zeros(ATOMS, REPLICATES), PairAgreement.zeros(ATOMS)
    sums.update(sample.codes, sample.rows, weights)
    together.update(*sample.codes, sample.images)
    return {"agreeing_share": agreeing_interval(sums, all_pairs.fitted.statistics.classes(), together)}


def _rho(all_pairs: Population, sample: Sample, weights: Floats) -> Interval:
    bridge = sigma_bridge(all_pairs.fitted.statistics, all_pairs.dictionary)
    row, column = np.repeat(np.arange(ATOMS), np.diff(bridge.indptr)), bridge.indices
    image, text = (merged_code_matrix(codes, ATOMS) for codes in sample.codes)
    sums = image[:, row].multiply(text[:, column]).T @ weights
    score = all_pairs.fitted.statistics.modality_score
    masses = np.abs(sums) * np.abs(gram_at(all_pairs.dictionary, bridge))[:, None]
    sides = (np.broadcast_to(score[places][:, None], masses.shape) for places in (row, column))
    return rho_interval(masses, tuple(sides))


def retrieved(all_pairs: Population, sample: Sample, seed: int) -> dict[str, Interval]:
    """R@10 in the gallery that a sample is, and what is kept of it."""
    weights = image_weights(sample.images, REPLICATES, seed)
    bimodal = torch.from_numpy(all_pairs.fitted.statistics.classes().bimodal)
    whole = [all_pairs.sae.decode(codes).detach() for codes in sample.codes]
    recalls = {
        "reconstructed": _recall(whole, weights),
        "bimodal": _recall([all_pairs.sae.decode(codes.keep(bimodal)).detach() for codes in sample.codes], weights),
        "centred": _recall([x - torch.from_numpy(m) for x, m in zip(whole, all_pairs.means, strict=True)], weights),
    }
    kept = {f"kept_r10.{n}": recall_kept(recalls["reconstructed"], recalls[n]) for n in ("bimodal", "centred")}
    return {f"r10.{name}": Interval.of_share(values) for name, values in recalls.items()} | kept


def _recall(rows: list[Tensor], weights: Floats) -> Floats:
    image, text = (normalize(x.float(), dim=1) for x in rows)
    hits = []
    for queries, gallery in ((image, text), (text, image)):
        nearest = (queries * gallery).sum(1, keepdim=True)
        nearer, as_near = nearer_and_as_near(queries @ gallery.T, nearest, TIE)
        hits.append(chance_of_hit(nearer, as_near, 10, torch.ones_like(nearer)).numpy())
    mean: Floats = weighted_mean((hits[0] + hits[1]) / 2, weights)
    return mean
