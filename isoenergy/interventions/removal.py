"""Taking classes of atoms, or what they span, out of the embeddings, with matched controls (paper 1.12, 4.1, 4.5)."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.errors import InputError
from isoenergy.interventions.gap_closing import Affine
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics

Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

Intervention = Literal["reconstructed", "bimodal", "unimodal"]
INTERVENTIONS: tuple[Intervention, ...] = ("reconstructed", "bimodal", "unimodal")

AtomClass = Literal["bimodal", "image_only", "text_only", "dead"]
ATOM_CLASSES: tuple[AtomClass, ...] = ("bimodal", "image_only", "text_only", "dead")

_PARTS = 10
_STRATUM_ATOMS = 8

_KEPT: dict[Intervention, tuple[AtomClass, ...]] = {
    "reconstructed": ("bimodal", "image_only", "text_only"),
    "bimodal": ("bimodal",),
    "unimodal": ("image_only", "text_only"),
}


def kept_atoms(intervention: Intervention, classes: AtomClasses) -> Tensor:
    """Return the `(atoms,)` bool mask of the atoms that `intervention` keeps.

    reconstructed: every live atom; bimodal: unimodal atoms are removed; unimodal: only those are kept.
    """
    return atoms_of(classes, _KEPT[intervention])


def atoms_of(classes: AtomClasses, keep: Collection[AtomClass], without: Mask | None = None) -> Tensor:
    """Return the `(atoms,)` bool mask of the atoms of all classes in `keep`, less those in `without`.

    without: `(atoms,)` bool, such as the always-on atoms, `statistics.frequency > ALWAYS_ON_FREQUENCY`.
    Raises InputError for a name that is no class.
    """
    unknown = sorted(set(keep) - set(ATOM_CLASSES))
    if unknown:
        raise InputError(f"no class of atoms is named {', '.join(unknown)}: choose from {', '.join(ATOM_CLASSES)}")
    mask = np.zeros_like(classes.dead)
    for name in keep:
        mask |= getattr(classes, name)
    if without is not None:
        mask &= ~without
    return torch.from_numpy(mask)


@torch.no_grad()
def intervene(sae: SparseAutoencoder, codes: SparseCodes, keep: Tensor) -> Tensor:
    """Return `(batch, dim)` embeddings rebuilt from the kept atoms alone: no re-encoding, no re-normalisation."""
    return sae.decode(codes.keep(keep))


def equalising_gains(statistics: ConceptStatistics) -> tuple[Tensor, Tensor]:
    """Return `(atoms,)` gains of images' and of texts' coefficients, in [0, 1]: √(min(E_I, E_T) / E_m).

    After them each atom has the same energy in both modalities, the lesser of the two: the equality that the paper
    supposes of shared concepts, made by a factor instead of a cut at μ = ε. A unimodal atom all but vanishes from its
    modality, one of equal energies stays as it is. The weaker side's gain is 1, also where its energy is 0.
    statistics: of the pairs that the energies are fitted on.
    """
    energies = statistics.image.energy, statistics.text.energy
    least = np.minimum(*energies)
    image, text = (
        torch.from_numpy(np.sqrt(np.divide(least, energy, out=np.ones_like(energy), where=energy > 0))).float()
        for energy in energies
    )
    return image, text


@torch.no_grad()
def composed_query(
    sae: SparseAutoencoder, source_rows: Tensor, delta_codes: SparseCodes, keep: Tensor | None
) -> Tensor:
    """Return `(batch, dim)` queries "this image, but …": source + decode(kept part of the change's code) (paper 4.5).

    source_rows: `(batch, dim)`, all of the source image, its unimodal part included, so that the sum stays image-like.
    delta_codes: codes of the texts that say what changes. keep: `(atoms,)` bool, in the paper the bimodal atoms; None:
    all of the text's code, the naive sum.
    """
    return source_rows + sae.decode(delta_codes if keep is None else delta_codes.keep(keep))


@dataclass(frozen=True)
class AtomSubspace:
    """The directions in which some atoms have their energy: an orthogonal projector, which zeroing codes is not.

    With more atoms than dimensions the span of a class is usually the whole space (paper 1.12); the leading
    eigenvectors of Σ E_j d_j d_jᵀ are the part of it that is used.
    """

    basis: Tensor
    """`(dim, rank)` float32, orthonormal columns, strongest first."""
    share: float
    """Share of the atoms' energy, the trace of that sum, that the subspace holds; NaN without energy."""

    @classmethod
    def of(
        cls,
        dictionary: Tensor | Floats,
        energy: Floats,
        mask: Tensor | Mask,
        rank: int | None = None,
        share: float = 0.95,
    ) -> "AtomSubspace":
        """Find the subspace of the atoms in `mask`.

        dictionary: `(atoms, dim)`; energy: `(atoms,)`, 0 and up; mask: `(atoms,)` bool. rank: in [0, dim]; None: the
        smallest that holds `share`, in (0, 1], of the energy. Atoms without energy span nothing: then the rank is 0.
        Raises InputError for a rank or share out of range.
        """
        if isinstance(dictionary, Tensor):
            dictionary = dictionary.detach().cpu().numpy()
        chosen = np.asarray(mask, bool)
        weighted = np.sqrt(np.asarray(energy, np.float64)[chosen, None]) * np.asarray(dictionary, np.float64)[chosen]
        values, vectors = np.linalg.eigh(weighted.T @ weighted)
        values, vectors = values[::-1].clip(0), vectors[:, ::-1]
        held, total = values.cumsum(), values.sum()
        dim = len(values)
        if rank is None:
            if not 0 < share <= 1:
                raise InputError(f"a subspace that holds a share of {share} of the energy: give one above 0, at most 1")
            rounding = dim * np.finfo(np.float64).eps
            rank = int(np.searchsorted(held, (share - rounding) * total)) + 1 if total > 0 else 0
        elif not 0 <= rank <= dim:
            raise InputError(f"a subspace of rank {rank}: {dim} dimensions have 0 to {dim}")
        basis = torch.from_numpy(vectors[:, :rank].copy()).float()
        return cls(basis, float(values[:rank].sum() / total) if total > 0 else float("nan"))

    @property
    def rank(self) -> int:
        """Dimensions of the subspace."""
        return self.basis.shape[1]

    def project(self, rows: Tensor) -> Tensor:
        """Return the part of `(n, dim)` rows inside the subspace."""
        return self.projector()(rows)

    def reject(self, rows: Tensor) -> Tensor:
        """Return the part of `(n, dim)` rows outside the subspace."""
        return self.rejector()(rows)

    def projector(self) -> Affine:
        """Return the map onto the subspace."""
        return Affine(self.basis @ self.basis.T)

    def rejector(self) -> Affine:
        """Return the map onto the subspace's complement."""
        return Affine(torch.eye(len(self.basis)) - self.basis @ self.basis.T)


def matched_atoms(mask: Tensor | Mask, energy: Floats, frequency: Floats, seed: int) -> Tensor:
    """Return a random `(atoms,)` bool mask of as many live atoms, as strong and as frequent, as those in `mask`.

    The control of removing or keeping a class: what follows from the number, energy and frequency of its atoms alone.
    mask: `(atoms,)` bool; its dead atoms, those of no energy, do not count. energy, frequency: `(atoms,)`.
    Atoms are drawn from all live ones of a stratum, those in `mask` included: from deciles of frequency, and of energy
    within them, or fewer and larger parts, so that a stratum holds 8 atoms. A stratum that lies in `mask` as a whole
    has nothing else to offer and joins its neighbour in energy, or in frequency at the end of a decile. Where a class
    fills its strata, the control shares many atoms with it and says little; the strongest atoms may have no like: say
    how many atoms are shared, and both shares of the energy, beside the result.
    """
    inside, energy = np.asarray(mask, bool), np.asarray(energy)
    groups: list[npt.NDArray[np.intp]] = []
    pending = np.empty(0, np.intp)
    for stratum in _strata(np.flatnonzero(energy > 0), energy, frequency):
        pending = np.concatenate([pending, stratum])
        if not inside[pending].all():
            groups.append(pending)
            pending = pending[:0]
    if groups:
        groups[-1] = np.concatenate([groups[-1], pending])
    else:
        groups = [pending]
    generator = np.random.default_rng(seed)
    matched = np.zeros_like(inside)
    for group in groups:
        matched[generator.choice(group, inside[group].sum(), replace=False)] = True
    return torch.from_numpy(matched)


def permuted_classes(
    classes: AtomClasses, frequency: Floats, energy: Floats, seeds: Iterable[int]
) -> Iterator[AtomClasses]:
    """Yield, for each seed, classes in which live atoms of like frequency and energy have swapped their labels.

    The control of whatever is measured by class. frequency, energy: `(atoms,)`. The strata are those of
    `matched_atoms`; each keeps its number of atoms of every class, so a stratum of one class stays as it is.
    """
    masks = np.stack([getattr(classes, name) for name in ATOM_CLASSES])
    strata = _strata(np.flatnonzero(~classes.dead), energy, frequency)
    for seed in seeds:
        generator, order = np.random.default_rng(seed), np.arange(masks.shape[1])
        for stratum in strata:
            order[stratum] = generator.permutation(stratum)
        yield AtomClasses(**dict(zip(ATOM_CLASSES, masks[:, order], strict=True)))


def _strata(live: npt.NDArray[np.intp], energy: Floats, frequency: Floats) -> list[npt.NDArray[np.intp]]:
    """Atoms of like frequency and energy; neighbours in the list are neighbours in both."""

    def parts(atoms: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
        return np.array_split(atoms, min(_PARTS, max(1, len(atoms) // _STRATUM_ATOMS)))

    strata = []
    for number, group in enumerate(parts(live[np.lexsort((energy[live], frequency[live]))])):
        rising = group[np.argsort(energy[group], kind="stable")]
        strata += parts(rising[:: -1 if number % 2 else 1])
    return strata
