"""All that the arena measures of a method, on one split; what it cuts and fits comes from train pairs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.arena.budget import MOST_NEAREST
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pairs import ArenaPairs, Rows
from isoenergy.codes.sparse_codes import DenseCodes, SparseCodes
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.metrics.agreement import Agreement, agreeing_share, agreement, mean_correlation
from isoenergy.metrics.clusters import clusters_of_both
from isoenergy.metrics.concept_recovery import concept_recovery
from isoenergy.metrics.gap_parts import gap_parts
from isoenergy.metrics.geometry import difference_in_means, probing_accuracy
from isoenergy.metrics.joint_gallery import own_modality_share
from isoenergy.metrics.modality_dominance import modality_dominance
from isoenergy.metrics.monosemanticity import multimodal_monosemanticity
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_centred, r2_paper
from isoenergy.metrics.recovery import cosines
from isoenergy.metrics.retrieval import recall_at
from isoenergy.metrics.steering import steering
from isoenergy.metrics.translation import linear_translation, translation_r2
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement

Floats = npt.NDArray[np.float64]
Measures = dict[str, float]
Pair = dict[str, Tensor]

FRACTIONS = (0.001, 0.01, 0.1, 1.0)
"""Of the train pairs, on which a linear translation is fitted."""
_RANKS = (1, MOST_NEAREST)
_KNOWN_PAIRS = 5000
"""Train pairs on which classes, agreement and strengths are had."""
_MOVED_PAIRS = 400
"""Pairs whose transport is exact."""
_CLUSTERED_PAIRS = 1500
_CLUSTERS_WITHOUT_LABELS = 20
_STEERED_CONCEPTS, _STEERED_IMAGES = 30, 300
_TRANSFERRED = ("gap_closed", "r@10_bimodal", "codes_r@10")
_SEED = 0
_OTHER = {"image": "text", "text": "image"}


@dataclass(frozen=True)
class Known:
    """What train pairs say of a method's atoms."""

    statistics: ConceptStatistics
    correlation: Floats
    """`(atoms,)`, of the coefficients over pairs, which an SAE a modality was matched by."""
    strength: Floats
    """`(atoms,)` mean coefficient of images that fire it."""

    @classmethod
    def of(cls, fitted: FittedMethod, rows: Rows) -> "Known":
        """Encode train pairs, as many as it takes."""
        rows = rows.first(_KNOWN_PAIRS)
        codes = {name: fitted.encode(rows.of(name), name) for name in MODALITIES}
        image = codes["image"].double()
        strength = image.sum(0) / (image != 0).sum(0).clamp(min=1)
        return cls(_statistics(fitted, codes), agreement_of(rows, codes).correlation, strength.numpy())

    @property
    def classes(self) -> AtomClasses:
        """Of the atoms, by their share of the energy."""
        return self.statistics.classes()


def brief_measures(fitted: FittedMethod, rows: Rows) -> Measures:
    """Return what strengths are chosen by, on validation pairs."""
    codes = {name: fitted.encode(rows.of(name), name) for name in MODALITIES}
    return _reconstruction(fitted, rows, codes) | _retrieval(codes)


def all_measures(fitted: FittedMethod, pairs: ArenaPairs, split: str, sparse: bool) -> Measures:
    """Return every measure on one split, by name; NaN where it is not defined of this method.

    sparse: whether it has atoms at all, and so classes of them. Transfer is of pairs of another store, if there are
    any: what was fitted here, classes, means and matching of the train pairs here, measured there.
    """
    rows, known = getattr(pairs, split), Known.of(fitted, pairs.train)
    codes = {name: fitted.encode(rows.of(name), name) for name in MODALITIES}
    found = _reconstruction(fitted, rows, codes) | _retrieval(codes)
    found |= _translation(fitted, pairs.train, rows, codes)
    found["joint_gallery"] = own_modality_share(codes["image"], codes["text"])
    found |= _clusters(rows, codes)
    found |= _transfer(fitted, pairs.transfer, known, sparse)
    if sparse:
        found |= _concepts(fitted, rows, codes, known)
        found |= _closed(fitted, codes, known.classes)
        found |= _meaning(pairs, rows, codes, known)
        found |= _steering(fitted, rows.text, codes, known)
        if pairs.concepts is not None:
            live = ~known.classes.dead
            image, text = (fitted.dictionaries[name].double().numpy()[live] for name in MODALITIES)
            true = [part.double().numpy() for part in pairs.concepts]
            found |= concept_recovery(image, text, true[0], true[1])._asdict()
    return found


def embedding_measures(pairs: ArenaPairs, split: str) -> Measures:
    """Return what the embeddings themselves have, which no method changes."""
    rows = getattr(pairs, split)
    parts = gap_parts(*(rows.of(name)[:_MOVED_PAIRS].numpy() for name in MODALITIES))
    half = min(_MOVED_PAIRS, len(rows) // 2)
    image = rows.image.numpy()
    recall = recall_at(rows.image, rows.text, _RANKS)
    return {
        "gap": _gap(rows),
        "gap_centroid": parts.centroid,
        "gap_distribution": parts.distribution,
        "gap_distribution_of_halves": gap_parts(image[:half], image[half : 2 * half]).distribution,
        **{f"r@{rank}": value for rank, value in recall.items()},
        "similarity_of_any": float(rows.reference_image.mean(0) @ rows.reference_text.mean(0)),
        **_transfer_of_embeddings(pairs.transfer),
    }


def _transfer_of_embeddings(there: Rows | None) -> Measures:
    if there is None:
        return {}
    return {"transfer_gap": _gap(there), "transfer_r@10": recall_at(there.image, there.text, (10,))[10]}


def _gap(rows: Rows) -> float:
    return float(difference_in_means(*(rows.of(name).double().mean(0).numpy() for name in MODALITIES)))


def _sparse(codes: Tensor) -> SparseCodes:
    return DenseCodes(codes, codes.new_zeros(len(codes), 1)).to_sparse()


def _scaled(fitted: FittedMethod, codes: Pair) -> Pair:
    """Coefficients of unit atoms: energies of dictionaries of any norm then compare."""
    return {name: codes[name] * fitted.dictionaries[name].norm(dim=1) for name in MODALITIES}


def _statistics(fitted: FittedMethod, codes: Pair) -> ConceptStatistics:
    found = ConceptStatistics.zeros(fitted.atoms)
    found.update(*(_sparse(part) for part in _scaled(fitted, codes).values()))
    return found


def _reconstruction(fitted: FittedMethod, rows: Rows, codes: Pair) -> Measures:
    sums = []
    for name in MODALITIES:
        sums.append(ReconstructionSums.zeros(rows.image.shape[1]))
        sums[-1].update(rows.of(name), rows.of(name) - fitted.decode(codes[name], name))
    fires = sum(float((codes[name] != 0).sum()) for name in MODALITIES)
    return {"r2": float(r2_paper(*sums)), "r2_centred": r2_centred(*sums), "l0": fires / (2 * len(rows))}


def _retrieval(codes: Pair) -> Measures:
    both = [recall_at(codes[name], codes[_OTHER[name]], _RANKS) for name in MODALITIES]
    return {f"codes_r@{rank}": (both[0][rank] + both[1][rank]) / 2 for rank in _RANKS}


def _translation(fitted: FittedMethod, train: Rows, rows: Rows, codes: Pair) -> Measures:
    """By the method's own atoms, as they are and with both means given; by a linear map, fitted on few pairs."""
    known = {name: fitted.encode(train.of(name), name) for name in MODALITIES}
    plain, shifted = [], []
    by_fraction: dict[float, list[float]] = {fraction: [] for fraction in FRACTIONS}
    for name, other in _OTHER.items():
        target, translated = rows.of(other).numpy(), fitted.decode(codes[name], other)
        shift = train.of(other).mean(0) - fitted.decode(known[name].mean(0, keepdim=True), other)[0]
        plain.append(translation_r2(target, translated.numpy()))
        shifted.append(translation_r2(target, (translated + shift).numpy()))
        for fraction, scores in by_fraction.items():
            few = max(2, round(fraction * len(train)))
            weights, offset = linear_translation(known[name][:few].numpy(), train.of(other)[:few].numpy())
            scores.append(translation_r2(target, codes[name].numpy() @ weights + offset))
    return {
        "translation_r2": float(np.mean(plain)),
        "translation_r2_shifted": float(np.mean(shifted)),
        **{f"translation_r2_{100 * fraction:g}%": float(np.mean(s)) for fraction, s in by_fraction.items()},
    }


def _clusters(rows: Rows, codes: Pair) -> Measures:
    few, labels = _CLUSTERED_PAIRS, rows.labels.numpy()
    count = len(np.unique(labels[labels >= 0])) or _CLUSTERS_WITHOUT_LABELS
    images, texts = (codes[name][:few].numpy() for name in MODALITIES)
    found = clusters_of_both(images, texts, labels[:few], count, _SEED)
    return {f"clusters_{name}": value for name, value in found._asdict().items()}


def agreement_of(rows: Rows, codes: Pair) -> Agreement:
    """Return what `(pairs, atoms)` codes say of each atom; captions of one image count as their effective number."""
    together = PairAgreement.zeros(codes["image"].shape[1])
    together.update(_sparse(codes["image"]), _sparse(codes["text"]), row_labels(rows.image.numpy()))
    return agreement(together)


def _concepts(fitted: FittedMethod, rows: Rows, codes: Pair, known: Known) -> Measures:
    there, classes, together = _statistics(fitted, codes), known.classes, agreement_of(rows, codes)
    live = ~classes.dead
    directions = np.diagonal(cosines(*(fitted.dictionaries[name].double().numpy() for name in MODALITIES)))
    found = {
        "dead_atoms": float(classes.dead.mean()),
        "bimodal_energy": there.energy_share(classes.bimodal),
        "agreement": float(mean_correlation(there.energy, together.correlation, live)),
        "agreement_fitted": float(mean_correlation(there.energy, known.correlation, live)),
        "agreeing": float(agreeing_share(there.energy, classes.bimodal, together.agrees)),
        "direction_cosine": float(mean_correlation(there.energy, directions, classes.bimodal)),
        "p_acc": float("nan"),
    }
    if fitted.shared:
        dictionary = fitted.dictionaries["image"].numpy()
        images, texts = (rows.of(name).numpy() for name in MODALITIES)
        energies = there.energy[:, None]
        found["p_acc"] = probing_accuracy(images, texts, dictionary, known.statistics, energies=energies)
    return found


def _closed(fitted: FittedMethod, codes: Pair, classes: AtomClasses) -> Measures:
    """An offset is what a modality adds to all its rows: it goes with the unimodal atoms."""
    bimodal = torch.from_numpy(classes.bimodal)
    rebuilt = {name: fitted.decode(codes[name], name) for name in MODALITIES}
    kept = {name: codes[name] * bimodal @ fitted.dictionaries[name] for name in MODALITIES}
    gaps = [
        float(difference_in_means(*(part[name].double().mean(0).numpy() for name in MODALITIES)))
        for part in (rebuilt, kept)
    ]
    recalls = [recall_at(part["image"], part["text"], (10,))[10] for part in (rebuilt, kept)]
    parts = gap_parts(*(kept[name][:_MOVED_PAIRS].numpy() for name in MODALITIES))
    return {
        "gap_closed": 1 - gaps[1] / gaps[0] if gaps[0] > 0 else float("nan"),
        "r@10_kept": recalls[1] / recalls[0] if recalls[0] > 0 else float("nan"),
        "r@10_bimodal": recalls[1],
        "kept_gap_centroid": parts.centroid,
        "kept_gap_distribution": parts.distribution,
    }


def _transfer(fitted: FittedMethod, there: Rows | None, known: Known, sparse: bool) -> Measures:
    if there is None:
        return {}
    codes = {name: fitted.encode(there.of(name), name) for name in MODALITIES}
    found = _retrieval(codes) | (_closed(fitted, codes, known.classes) if sparse else {})
    return {f"transfer_{name}": found[name] for name in _TRANSFERRED if name in found}


def _meaning(pairs: ArenaPairs, rows: Rows, codes: Pair, known: Known) -> Measures:
    live = ~known.classes.dead
    images, texts = (codes[name].numpy()[:, live] for name in MODALITIES)
    dominance = modality_dominance(images, texts)
    energy = known.statistics.energy[live]
    counted = ~np.isnan(dominance)
    return {
        **_monosemanticity(pairs, rows, images, texts),
        "dominance": float(
            (np.abs(2 * dominance[counted] - 1) * energy[counted]).sum() / max(energy[counted].sum(), 1e-30)
        ),
    }


def _monosemanticity(pairs: ArenaPairs, rows: Rows, images: Floats, texts: Floats) -> Measures:
    """A judge's cone adds to every score, whatever fires the atom: its rows are less their modality's train mean."""
    judge = rows.reference_image, rows.reference_text
    found = {"mms_uncentred": float("nan"), "mms_coded": float("nan")}
    if not torch.equal(rows.reference_image, rows.image):
        found["mms_coded"] = _mms(images, rows.image, texts, rows.text)
        if pairs.concepts is None:  # the concepts of made pairs are the same in both modalities
            found["mms_uncentred"] = _mms(images, judge[0], texts, judge[1])
            means = pairs.train.reference_image.mean(0), pairs.train.reference_text.mean(0)
            judge = normalize(judge[0] - means[0], dim=1), normalize(judge[1] - means[1], dim=1)
    across = _mms(images, judge[0], texts, judge[1])
    return {"mms": across, "mms_image": _mms(images, judge[0]), "mms_text": _mms(texts, judge[1]), **found}


def _mms(codes: Floats, rows: Tensor, other_codes: Floats | None = None, other_rows: Tensor | None = None) -> float:
    other = None if other_rows is None else other_rows.numpy()
    return float(np.mean(multimodal_monosemanticity(codes, rows.numpy(), other_codes, other)))


def _steering(fitted: FittedMethod, texts: Tensor, codes: Pair, known: Known) -> Measures:
    """Concepts: bimodal atoms of most energy that between a hundredth and a third of the texts fire."""
    share = (codes["text"] != 0).double().mean(0).numpy()
    usable = known.classes.bimodal & (share >= 0.01) & (share <= 1 / 3)
    ranked = np.argsort(np.where(usable, -known.statistics.energy, np.inf), kind="stable")
    concepts = ranked[: min(_STEERED_CONCEPTS, int(usable.sum()))]
    has = (codes["text"][:, torch.from_numpy(concepts)] != 0).numpy()
    queries = np.arange(min(_STEERED_IMAGES, len(texts)))
    found = steering(
        codes["image"],
        lambda z: fitted.decode(z, "text"),
        texts,
        has,
        concepts.tolist(),
        known.strength[concepts].tolist(),
        queries,
    )
    return {"steering_success": found.success, "steering_collateral": found.collateral}
