"""Pairs of embeddings from known atoms: the generative process on which recovery can be measured (paper 2.1)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.metrics.recovery import Concepts
from isoenergy.statistics.concept_statistics import ConceptStatistics, ModalityStatistics
from isoenergy.synthetic.experiment_config import SyntheticConfig

Floats = npt.NDArray[np.float64]

_BIAS_OFFSET = 10.0
_MOST_AND_LEAST_FREQUENT = (0.5, 0.1)
_UNREACHABLE_SCALE = 1e4
_ROOT_IS_REAL = 1e-6


@dataclass(frozen=True)
class GroundTruth(Concepts):
    """A dictionary, `(atoms, dim)` unit rows, and the codes with which it makes the pairs."""

    families: tuple[str, ...]
    """Name of each atom's family; atoms of a family are neighbours."""

    @cached_property
    def statistics(self) -> ConceptStatistics:
        """Energies and frequencies, from the codes: the authors' stored ones have a square missing (paper 2.1)."""
        cross = (self.image_codes.T @ self.text_codes).tocsr()
        return ConceptStatistics(_moments(self.image_codes), _moments(self.text_codes), cross)

    @property
    def bimodal_energy(self) -> float:
        """Share of the energy in atoms that fire in both modalities, by the rule for learned ones."""
        return self.statistics.energy_share(self.statistics.classes().bimodal)

    def where(self, family: str) -> slice:
        """Return the places of a family's atoms."""
        first = self.families.index(family)
        return slice(first, first + self.families.count(family))


@dataclass(frozen=True)
class SyntheticPairs:
    """Pairs, and the atoms that they are made of, in the three ways in which they can be told.

    images, texts: `(pairs, dim)` float64, unit rows.
    parts: the paper's D: biases, each concept's shared atom, and what an image or a text adds to it. It rebuilds the
        embeddings, with up to 2·atoms_per_row - 1 atoms a row.
    instances: the paper's D′: biases, and an image and a text atom for each concept. It rebuilds the embeddings.
    merged: biases, and one atom for each concept: the bisector of its instances. It rebuilds the embeddings if τ₁ is 1.
    reached: `(pairs,)` bool: whether τ₂ could be met. Where it cannot, concepts outweigh the bias 10,000 to 1: all but
        as near as the pair can come.
    """

    images: Floats
    texts: Floats
    parts: GroundTruth
    instances: GroundTruth
    merged: GroundTruth
    reached: npt.NDArray[np.bool_]

    @property
    def truths(self) -> dict[str, GroundTruth]:
        """The three by name."""
        return {"parts": self.parts, "instances": self.instances, "merged": self.merged}

    @property
    def unreached(self) -> int:
        """Pairs whose cosine is not τ₂."""
        return int((~self.reached).sum())


def generate(config: SyntheticConfig, seed: int) -> SyntheticPairs:
    """Draw atoms and pairs; the same for the same config and seed.

    Every pair has one bias of each modality, coefficient 1, and a set of distinct concepts that image and text share,
    all with one coefficient: the smallest for which the pair's cosine is τ₂. Rows, and their codes, are then divided by
    the row's norm. Source: paper 2.1 (the authors' `ToyGeneral`).
    """
    random = np.random.default_rng(seed)
    biases, shared, own = _draw_atoms(config, random)
    concepts = _draw_concepts(config, random)
    bias = random.integers(config.biases, size=(2, config.pairs))
    near, far = np.sqrt(config.instance_cosine), np.sqrt(1 - config.instance_cosine)
    instances = near * shared + far * own
    sums = [_sum_of_rows(part, concepts) for part in instances]
    offsets = [biases[modality][bias[modality]] for modality in (0, 1)]
    scale, reached = _scales(offsets, sums, config.pair_cosine)
    rows = [offset + scale[:, None] * total for offset, total in zip(offsets, sums, strict=True)]
    norms = [np.linalg.norm(row, axis=1) for row in rows]
    images, texts = (row / norm[:, None] for row, norm in zip(rows, norms, strict=True))

    b, c = config.biases, config.concepts
    bisector = instances.sum(0)
    bisector /= np.linalg.norm(bisector, axis=1, keepdims=True)

    def truth(concept_atoms: dict[str, Floats], used: tuple[dict[str, float], dict[str, float]]) -> GroundTruth:
        families = {"image bias": biases[0], "text bias": biases[1], **concept_atoms}
        codes = []
        for modality, weights in enumerate(used):
            columns, values = [bias[modality][:, None] + b * modality], [np.ones((config.pairs, 1))]
            for position, family in enumerate(concept_atoms):
                if weights.get(family, 0.0):
                    columns.append(concepts + 2 * b + c * position)
                    values.append(np.broadcast_to(weights[family] * scale[:, None], concepts.shape))
            atoms = 2 * b + c * len(concept_atoms)
            codes.append(_sparse(np.hstack(columns), np.hstack(values) / norms[modality][:, None], atoms))
        names = tuple(name for name, atoms in families.items() for _ in atoms)
        return GroundTruth(np.concatenate(list(families.values())), codes[0], codes[1], names)

    return SyntheticPairs(
        images,
        texts,
        parts=truth(
            {"shared": shared, "image part": own[0], "text part": own[1]},
            ({"shared": near, "image part": far}, {"shared": near, "text part": far}),
        ),
        instances=truth(
            {"image instance": instances[0], "text instance": instances[1]},
            ({"image instance": 1.0}, {"text instance": 1.0}),
        ),
        merged=truth({"concept": bisector}, ({"concept": 1.0}, {"concept": 1.0})),
        reached=reached,
    )


def _draw_atoms(config: SyntheticConfig, random: np.random.Generator) -> tuple[list[Floats], Floats, Floats]:
    """Return each modality's biases, the shared atoms, and `(2, concepts, dim)` what each modality adds to them."""
    block, dim = config.block, config.dim
    places = [slice(0, block), slice(block, 2 * block)]
    biases = []
    for place in places:
        direction = _unit(random.normal(size=(1, block)))
        noise = random.normal(size=(config.biases, block))
        biases.append(_embed(noise + _BIAS_OFFSET * direction, place, dim))
    shared = _embed(random.normal(size=(config.concepts, dim - 2 * block)), slice(2 * block, dim), dim)
    own = np.stack([_embed(random.normal(size=(config.concepts, block)), place, dim) for place in places])
    return biases, shared, own


def _draw_concepts(config: SyntheticConfig, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `(pairs, atoms_per_row - 1)` distinct concepts a pair, drawn one after the other by their weights.

    The largest of log weight + Gumbel noise are such a draw (Yellott 1977).
    """
    weights = np.geomspace(*_MOST_AND_LEAST_FREQUENT, config.concepts)
    keys = np.log(weights) + random.gumbel(size=(config.pairs, config.concepts))
    return np.argsort(-keys, axis=1)[:, : config.atoms_per_row - 1]


def _scales(offsets: list[Floats], sums: list[Floats], cosine: float) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return `(pairs,)` the least s > 0 at which offset + s·sum of both modalities have `cosine`, and whether it is.

    With t = 1/s it is the largest positive root of (t² + c₁t + a₁)(t² + c₂t + a₂) - (u·w/τ₂)², since a modality's bias
    is orthogonal to the other modality's row. No root: s is 1e4.
    """
    a1, a2 = (np.square(total).sum(1) for total in sums)
    c1, c2 = (2 * (offset * total).sum(1) for offset, total in zip(offsets, sums, strict=True))
    inner = (sums[0] * sums[1]).sum(1)
    coefficients = np.stack([c1 + c2, a1 + a2 + c1 * c2, a1 * c2 + a2 * c1, a1 * a2 - (inner / cosine) ** 2], axis=1)
    companion = np.zeros((len(a1), 4, 4))
    companion[:, 0] = -coefficients
    companion[:, [1, 2, 3], [0, 1, 2]] = 1
    roots = np.linalg.eigvals(companion)
    real = (np.abs(roots.imag) <= _ROOT_IS_REAL * np.abs(roots)) & (roots.real > 1 / _UNREACHABLE_SCALE)
    t = np.where(real, roots.real, 0.0).max(axis=1)
    reached = t > 0
    return np.divide(1.0, t, out=np.full(len(t), _UNREACHABLE_SCALE), where=reached), reached


def _sum_of_rows(atoms: Floats, chosen: npt.NDArray[np.int64]) -> Floats:
    sums: Floats = _sparse(chosen, np.ones(chosen.shape), len(atoms)) @ atoms
    return sums


def _sparse(columns: npt.NDArray[np.int64], values: Floats, atoms: int) -> sparse.csr_array:
    ends = np.arange(len(columns) + 1) * columns.shape[1]
    codes = sparse.csr_array((values.ravel(), columns.ravel(), ends), (len(columns), atoms))
    codes.sort_indices()
    return codes


def _moments(codes: sparse.csr_array) -> ModalityStatistics:
    first, absolute, second = (part.sum(0) for part in (codes, abs(codes), codes.power(2)))
    return ModalityStatistics(codes.shape[0], first, absolute, second, (codes != 0).sum(0).astype(np.float64))


def _embed(rows: Floats, place: slice, dim: int) -> Floats:
    """Return unit rows of width `dim` that are zero outside `place`."""
    out = np.zeros((len(rows), dim))
    out[:, place] = _unit(rows)
    return out


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
