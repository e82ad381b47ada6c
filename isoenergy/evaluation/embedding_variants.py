"""The embeddings under comparison: as they are, rebuilt, without classes of atoms, and moved by baselines."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import Rows, tensor
from isoenergy.evaluation.ways import ORIGINAL, RECONSTRUCTED, WAYS
from isoenergy.interventions.gap_closing import Affine, GapClosing, midpoint_shift, without_gap_dimensions
from isoenergy.interventions.removal import AtomSubspace, equalising_gains, kept_atoms, matched_atoms
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments

STEPS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Of Liang's sweep, as shares of the gap."""
GAP_DIMENSIONS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Of Schrodi's sweep."""
_AS_THEY_ARE = GapClosing(Affine(), Affine())

LESS_UNIMODAL = "less_unimodal"


@dataclass(frozen=True)
class EmbeddingVariant:
    """Embeddings from some atoms, and an affine map of each modality after that."""

    name: str
    base: str
    """Which rows are mapped: the embeddings, or those rebuilt from one of a set's choices of atoms."""
    closing: GapClosing = field(default=_AS_THEY_ARE, repr=False)
    sweep: tuple[str, float] | None = None
    """A point of a sweep: its name and strength. It is not looked for in the full gallery, and its clouds are
    not measured."""


@dataclass(frozen=True)
class AtomWeights:
    """What each atom's coefficients are multiplied by before they are decoded."""

    image: Tensor
    """`(atoms,)` float32"""
    text: Tensor
    subtracted: bool = False
    """Whether what comes of it is taken from the rows that were encoded: then what no atom explains stays."""

    @classmethod
    def kept(cls, mask: Tensor, subtracted: bool = False) -> "AtomWeights":
        """Return the weights that keep the atoms of a `(atoms,)` bool mask."""
        return cls(mask.float(), mask.float(), subtracted)


@dataclass(frozen=True)
class VariantSet:
    """Variants of one kind of embeddings."""

    variants: tuple[EmbeddingVariant, ...]
    atoms: Mapping[str, AtomWeights] = field(default_factory=dict)
    """By base; none for the embeddings themselves."""

    def only(self, names: Container[str] | None) -> "VariantSet":
        """Return the variants of these names, without the sweeps; all for None."""
        if names is None:
            return self
        kept = tuple(each for each in self.variants if each.name in names and not each.sweep)
        bases = {each.base for each in kept}
        return VariantSet(kept, {base: weights for base, weights in self.atoms.items() if base in bases})

    @property
    def by_base(self) -> list[EmbeddingVariant]:
        """The variants, those of one base after each other."""
        return sorted(self.variants, key=lambda variant: variant.base)

    def each(
        self, rows: Callable[[str], tuple[Tensor, Tensor]], sweeps: bool = True
    ) -> Iterator[tuple[EmbeddingVariant, Tensor, Tensor]]:
        """Yield each variant, `by_base`, and its images and texts.

        rows: returns a base's images and texts. sweeps: whether the points of sweeps are among them.
        """
        base, current = "", None
        for variant in self.by_base:
            if variant.sweep and not sweeps:
                continue
            if current is None or variant.base != base:
                base, current = variant.base, rows(variant.base)
            yield variant, *variant.closing(*current)


def original_variants(fitted: Fitted, seed: int, names: Container[str] | None = None) -> VariantSet:
    """Return the embeddings as they are, and each baseline on them; names: as `sae_variants` takes them."""
    as_they_are = EmbeddingVariant(ORIGINAL, ORIGINAL)
    return VariantSet((as_they_are, *_baselines(ORIGINAL, fitted.moments, seed, names))).only(names)


def sae_variants(fitted: Fitted, sae: SparseAutoencoder, seed: int, names: Container[str] | None = None) -> VariantSet:
    """Return what an SAE rebuilds, as `atom_variants` does, and each baseline on the reconstruction.

    names: of those that are wanted, without the sweeps; None: all. What is not wanted is not computed.
    """
    found = atom_variants(fitted.known, sae, seed, names)
    baselines = _baselines(RECONSTRUCTED, fitted.moments, seed, names)
    return VariantSet((*found.variants, *baselines), found.atoms).only(names)


def atom_variants(
    known: ConceptStatistics, sae: SparseAutoencoder, seed: int, names: Container[str] | None = None
) -> VariantSet:
    """Return what an SAE rebuilds: from all atoms, classes of them, and controls.

    reconstructed, bimodal, unimodal: from all, the bimodal, the unimodal atoms. matched_removal: without as many atoms
    as are unimodal, of the same frequencies and energies but drawn at random. bimodal_subspace: the reconstruction
    projected to the directions that hold 95 % of the bimodal atoms' energy. without_unimodal_subspace: outside those of
    the unimodal atoms. less_unimodal: x - D z_unimodal, the rows less what the unimodal atoms rebuild: what no atom
    explains stays, which decoding the bimodal atoms alone loses. equalised: D (g z), with the gains g of
    `equalising_gains`, an atom and modality: the removal without a cut; less_unequal: x - D ((1 - g) z). Of raw rows
    there are none that subtract. names: as `sae_variants` takes them.
    """
    classes = known.classes()
    dictionary = sae.dictionary.detach()
    matched = matched_atoms(classes.unimodal, known.energy, known.frequency, seed)
    image, text = equalising_gains(known)
    atoms = {
        RECONSTRUCTED: AtomWeights.kept(torch.ones(known.atoms, dtype=torch.bool)),
        "bimodal": AtomWeights.kept(kept_atoms("bimodal", classes)),
        "unimodal": AtomWeights.kept(kept_atoms("unimodal", classes)),
        "equalised": AtomWeights(image, text),
        "matched_removal": AtomWeights.kept(torch.from_numpy(~np.asarray(matched))),
        LESS_UNIMODAL: AtomWeights.kept(kept_atoms("unimodal", classes), subtracted=True),
        "less_unequal": AtomWeights(1 - image, 1 - text, subtracted=True),
    }
    if sae.config.input == "raw":
        atoms = {base: weights for base, weights in atoms.items() if not weights.subtracted}
    subspaces: dict[str, Callable[[], Affine]] = {
        "bimodal_subspace": lambda: AtomSubspace.of(dictionary, known.energy, classes.bimodal).projector(),
        "without_unimodal_subspace": lambda: AtomSubspace.of(dictionary, known.energy, classes.unimodal).rejector(),
    }
    maps = {name: make() for name, make in subspaces.items() if names is None or name in names}
    return VariantSet(
        (
            *(EmbeddingVariant(base, base) for base in atoms),
            *(EmbeddingVariant(name, RECONSTRUCTED, GapClosing(side, side)) for name, side in maps.items()),
        ),
        atoms,
    )


def rebuilding(
    sae: SparseAutoencoder,
    codes: tuple[SparseCodes, SparseCodes],
    variants: VariantSet,
    raw: tuple[Rows, Rows],
) -> Callable[[str], tuple[Tensor, Tensor]]:
    """Return the function that makes a base's images and texts of its atoms, for `VariantSet.each`.

    raw: `(n, dim)` images and texts as stored, which the codes are of.
    """

    @torch.no_grad()
    def rows(base: str) -> tuple[Tensor, Tensor]:
        weights = variants.atoms[base]
        both = zip(codes, (weights.image, weights.text), strict=True)
        image, text = (sae.decode(part.scaled(factors)) for part, factors in both)
        if weights.subtracted:
            prepared = (sae.prepare(tensor(x), m) for x, m in zip(raw, sae.config.modalities, strict=True))
            image, text = (x - part for x, part in zip(prepared, (image, text), strict=True))
        return image, text

    return rows


def _baselines(base: str, moments: PairMoments, seed: int, names: Container[str] | None) -> list[EmbeddingVariant]:
    dim = moments.dim
    maps = {
        name: way.linear(moments, seed)
        for name, way in WAYS.items()
        if way.linear is not None and (names is None or name in names)
    }
    sweeps = [
        *((("midpoint_shift", step), midpoint_shift(moments, step)) for step in STEPS),
        *((("without_gap_dimensions", k), without_gap_dimensions(moments, k)) for k in GAP_DIMENSIONS if k < dim),
    ]
    return [
        *(EmbeddingVariant(name, base, closing) for name, closing in maps.items()),
        *(EmbeddingVariant(f"{sweep[0]}_{sweep[1]:g}", base, closing, sweep) for sweep, closing in sweeps),
    ]
