"""Retrieval between any two modalities: by codes, which have one space, and by vectors where they have one width."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.measured_rows import Inputs, PartConfig, Result, SaeReference, unit_rows
from isoenergy.evaluation.modalities.modality_energies import fitted_sharing, load_modality_codes
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import TIE, chance_of_hit, hide_zeros, nearer_and_as_near, there
from isoenergy.sae.joint import load_autoencoder
from isoenergy.statistics.bootstrap import REPLICATES, Interval, if_enough, poisson_weights
from isoenergy.statistics.concept_statistics import merged_code_matrix
from isoenergy.statistics.weighted_sums import weighted_mean

Floats = npt.NDArray[np.float64]
Similarity = Mapping[str, sparse.csr_array | npt.NDArray[np.floating]]
"""Unit rows by modality: the similarity of two is their product."""

RANKS = (1, 5, 10)
_QUERIES_AT_ONCE = 256
_DRAWN_FILE = "drawn.safetensors"


@dataclass(frozen=True)
class DrawnPartConfig:
    """A part of the store, and which pairs are drawn from the whole."""

    part: PartConfig
    draw: Draw
    pairs: int
    """Of the split, all parts together."""


@dataclass(frozen=True)
class VectorRetrievalConfig:
    """How many pairs are drawn: those for batches are the gallery, and the first of them the queries."""

    draw: Draw
    pairs: int


@dataclass(frozen=True)
class CodeRetrievalConfig:
    """The same, and the SAE."""

    draw: Draw
    pairs: int
    sae: SaeReference


def draw_vectors(config: DrawnPartConfig, inputs: Inputs, output: Path) -> Result:
    """Keep the vectors of a part that are drawn."""
    del inputs
    drawn = np.sort(_gallery(config.draw, config.pairs))
    kept: dict[str, list[npt.NDArray[np.floating]]] = {}
    for first, vectors in config.part.vectors():
        for name, rows in vectors.items():
            chosen = drawn[slice(*np.searchsorted(drawn, (first, first + len(rows))))] - first
            kept.setdefault(name, []).append(rows[chosen])
    save_file({name: np.concatenate(rows) for name, rows in kept.items()}, output / _DRAWN_FILE)
    return {"pairs": int(sum(map(len, next(iter(kept.values())))))}


def retrieve_by_vectors(config: VectorRetrievalConfig, inputs: Inputs, output: Path) -> Result:
    """Return recall, and the gap between the means, of every two modalities whose vectors have one width."""
    del output
    parts = [load_file(folder / _DRAWN_FILE) for folder in inputs.values()]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    place = np.argsort(np.argsort(_gallery(config.draw, config.pairs)))
    unit = {name: unit_rows(rows[place]).numpy() for name, rows in drawn.items()}
    weights = _weights(len(place), config.draw.seed)
    found: Result = {}
    for one, other in combinations(unit, 2):
        if unit[one].shape[1] == unit[other].shape[1]:
            means = [rows.T @ weights / weights.sum(axis=0) for rows in (unit[one], unit[other])]
            found[f"{one}~{other}"] = {
                "difference_in_means": asdict(Interval.of_weighted(difference_in_means(*means), least=0.0)),
                **_recalls(unit, (one, other), weights, config.draw.queries),
            }
    return {"gallery": len(place), "queries": min(config.draw.queries, len(place)), "between": found}


def retrieve_by_codes(config: CodeRetrievalConfig, inputs: Inputs, output: Path) -> Result:
    """Return recall by the cosine of codes for every two modalities, from all atoms, those both share, and the rest.

    Which atoms they share is decided on the fitted pairs. Beside it the mean cosine of the codes of a pair, and of
    those of a pair and the one half of them away: the next may be of the same image.
    """
    del output
    sae = load_autoencoder(config.sae.uri)
    modalities, atoms = sae.config.modalities, sae.config.atoms
    shared_by = fitted_sharing(inputs["fit"])
    codes = _drawn_codes(config, inputs, modalities, atoms)
    weights = _weights(codes[modalities[0]].shape[0], config.draw.seed)
    found: Result = {}
    for one, other in combinations(modalities, 2):
        both = shared_by[modalities.index(one)] & shared_by[modalities.index(other)]
        cosines = _unit_codes(codes, np.ones(atoms, bool), (one, other))
        own = np.asarray(cosines[one].multiply(cosines[other]).sum(axis=1)).ravel()
        strangers = cosines[other][np.roll(np.arange(len(own)), len(own) // 2)]
        shuffled = np.asarray(cosines[one].multiply(strangers).sum(axis=1)).ravel()
        found[f"{one}~{other}"] = {
            "shared_atoms": int(both.sum()),
            "pair_code_cosine": _mean(own, weights),
            "shuffled_code_cosine": _mean(shuffled, weights),
            **{
                name: _recalls(_unit_codes(codes, kept, (one, other)), (one, other), weights, config.draw.queries)
                for name, kept in (("all", np.ones(atoms, bool)), ("shared", both), ("unshared", ~both))
            },
        }
    return {"between": found}


def _drawn_codes(
    config: CodeRetrievalConfig, inputs: Inputs, modalities: Sequence[str], atoms: int
) -> dict[str, sparse.csr_array]:
    """The codes of the drawn pairs by modality, in the order of the draw; a part's are held at a time."""
    order = _gallery(config.draw, config.pairs)
    drawn = np.sort(order)
    kept: dict[str, list[sparse.csr_array]] = {name: [] for name in modalities}
    first = 0
    for folder in (folder for name, folder in inputs.items() if name.startswith("part")):
        part = load_modality_codes(folder, tuple(modalities))
        pairs = len(part[modalities[0]])
        chosen = torch.from_numpy(drawn[slice(*np.searchsorted(drawn, (first, first + pairs)))] - first)
        for name, codes in part.items():
            rows = SparseCodes(codes.indices[chosen], codes.values[chosen], codes.residual[chosen])
            kept[name].append(merged_code_matrix(rows, atoms))
        first += pairs
    place = np.argsort(np.argsort(order))
    return {name: sparse.vstack(rows, format="csr")[place] for name, rows in kept.items()}


def _unit_codes(
    codes: Mapping[str, sparse.csr_array], kept: npt.NDArray[np.bool_], names: Sequence[str]
) -> dict[str, sparse.csr_array]:
    """Codes of the kept atoms alone, at norm 1; zeros where none fires."""
    found = {}
    for name in names:
        rows = codes[name].multiply(kept[None, :]).tocsr()
        norms = np.sqrt(np.asarray(rows.power(2).sum(axis=1)).ravel())
        scale = np.divide(1, norms, out=np.zeros(len(norms)), where=norms > 0)
        found[name] = (sparse.diags_array(scale) @ rows).tocsr()
    return found


def _recalls(unit: Similarity, names: tuple[str, str], weights: Floats, queries: int) -> Result:
    """Recall of each direction and, with an interval over pairs, of both; equal rows are ordered at random."""
    found: Result = {}
    both: dict[int, Floats] = {rank: np.zeros(weights.shape[1]) for rank in RANKS}
    for one, other in permutations(names):
        hits = _hits(unit[one][:queries], unit[other])
        for rank, chances in hits.items():
            by_weight = weighted_mean(chances, weights[: len(chances)])
            found[f"{one}_to_{other}_r{rank}"] = float(by_weight[0])
            both[rank] += by_weight / 2
    for rank, values in both.items():
        found[f"r{rank}"] = asdict(Interval.of_share(values))
    return found


def _hits(
    queries: sparse.csr_array | npt.NDArray[np.floating], gallery: sparse.csr_array | npt.NDArray[np.floating]
) -> dict[int, Floats]:
    """`(queries,)` chances that row i of the gallery, query i's own, is among the nearest, by rank."""
    places: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    known = [torch.from_numpy(np.asarray(abs(rows).sum(axis=1)).ravel() > 0) for rows in (queries, gallery)]
    for start in range(0, queries.shape[0], _QUERIES_AT_ONCE):
        block = queries[start : start + _QUERIES_AT_ONCE]
        product = block @ gallery.T
        similarity = torch.from_numpy(np.asarray(product.toarray() if isinstance(product, sparse.sparray) else product))
        hide_zeros(similarity, known[0][start : start + _QUERIES_AT_ONCE], known[1])
        partner = similarity.diagonal(offset=start).unsqueeze(1)
        places.append((*nearer_and_as_near(similarity, partner, TIE), there(partner)))
    nearer, as_near, right = map(torch.cat, zip(*places, strict=True))
    return {rank: chance_of_hit(nearer, as_near, rank, right).numpy() for rank in RANKS}


def _gallery(draw: Draw, pairs: int) -> npt.NDArray[np.int64]:
    return draw.rows(pairs)[: max(draw.in_batches, draw.queries)]


def _weights(pairs: int, seed: int) -> Floats:
    return if_enough(poisson_weights(pairs, REPLICATES, seed), pairs)


def _mean(values: Floats, weights: Floats) -> dict[str, float]:
    return asdict(Interval.of_weighted(weighted_mean(values, weights), least=-1.0, most=1.0))
