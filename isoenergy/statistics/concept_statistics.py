"""Concept statistics as mergeable sums: the only pass over the data that evaluation needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.sums import MergeableSums
from isoenergy.statistics.thresholds import EPSILON

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_WAITING_PAIRS = 16_384
"""Pairs whose cross-moments are summed at a time: each sum passes over all that is there already."""


@dataclass(frozen=True)
class AtomClasses:
    """Disjoint `(atoms,)` bool masks that cover the dictionary (paper 1.5)."""

    bimodal: Mask
    image_only: Mask
    text_only: Mask
    dead: Mask

    @property
    def unimodal(self) -> Mask:
        """Atoms of one modality alone."""
        return self.image_only | self.text_only

    @property
    def names(self) -> npt.NDArray[np.object_]:
        """`(atoms,)` the class of each, as these masks are called."""
        found = np.full(len(self.dead), "dead", dtype=object)
        for name, mask in vars(self).items():
            found[mask] = name
        return found


@dataclass
class ModalityStatistics(MergeableSums):
    """Sums over the rows of one modality; every array is `(atoms,)` float64."""

    rows: int
    first: Floats
    """Sum of the coefficients z."""
    absolute: Floats
    """Sum of |z|."""
    second: Floats
    """Sum of z²."""
    fires: Floats
    """Rows in which z is not 0."""

    @classmethod
    def zeros(cls, atoms: int) -> Self:
        """Return the statistics of no rows."""
        return cls(0, np.zeros(atoms), np.zeros(atoms), np.zeros(atoms), np.zeros(atoms))

    def update(self, codes: SparseCodes) -> None:
        """Add the rows of `codes`."""
        atoms = len(self.first)
        index = codes.indices.cpu().numpy().ravel()
        value = codes.merged_values().detach().cpu().numpy().astype(np.float64).ravel()
        self.rows += len(codes)
        self.first += np.bincount(index, value, atoms)
        self.absolute += np.bincount(index, np.abs(value), atoms)
        self.second += np.bincount(index, value**2, atoms)
        self.fires += np.bincount(index, value != 0, atoms)

    @property
    def mean(self) -> Floats:
        """Mean coefficient of each atom."""
        return self.first / max(self.rows, 1)

    @property
    def energy(self) -> Floats:
        """Energy of each atom: its mean squared coefficient."""
        return self.second / max(self.rows, 1)

    @property
    def l0(self) -> float:
        """Mean number of atoms in a row's code (paper 1.6)."""
        return float(self.fires.sum() / max(self.rows, 1))

    @property
    def l1(self) -> float:
        """Mean sum of |z| in a row's code (paper 1.6)."""
        return float(self.absolute.sum() / max(self.rows, 1))


class ConceptStatistics:
    """Moments of every atom's coefficient by modality, and the pairs' cross-moments; halves merge into the whole."""

    def __init__(self, image: ModalityStatistics, text: ModalityStatistics, cross: sparse.csr_array) -> None:
        """Take sums as they are; `cross` is `(atoms, atoms)`."""
        self.image, self.text = image, text
        self._cross = cross
        self._waiting: list[tuple[sparse.csr_array, sparse.csr_array]] = []

    @property
    def cross(self) -> sparse.csr_array:
        """`(atoms, atoms)`: the sum over pairs of z_image[j] · z_text[l]."""
        self._add_waiting()
        return self._cross

    @cross.setter
    def cross(self, cross: sparse.csr_array) -> None:
        self._cross, self._waiting = cross, []

    @classmethod
    def zeros(cls, atoms: int) -> Self:
        """Return the statistics of no pairs."""
        cross = sparse.csr_array((atoms, atoms), dtype=np.float64)
        return cls(ModalityStatistics.zeros(atoms), ModalityStatistics.zeros(atoms), cross)

    def update(self, image_codes: SparseCodes, text_codes: SparseCodes) -> None:
        """Add pairs: row i of `image_codes` and row i of `text_codes` belong together."""
        if len(image_codes) != len(text_codes):
            raise ValueError(f"image_codes and text_codes must pair up, got {len(image_codes)} and {len(text_codes)}")
        self.image.update(image_codes)
        self.text.update(text_codes)
        image, text = (code_matrix(codes, self.atoms).copy() for codes in (image_codes, text_codes))
        self._waiting.append((image, text))
        if sum(part.shape[0] for part, _ in self._waiting) >= _WAITING_PAIRS:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if self._waiting:
            image, text = (sparse.vstack(part, format="csr") for part in zip(*self._waiting, strict=True))
            self._cross = self._cross + (image.T @ text).tocsr()
            self._waiting = []

    def merge(self, other: Self) -> Self:
        """Return the statistics of both sets of pairs."""
        return type(self)(self.image.merge(other.image), self.text.merge(other.text), self.cross + other.cross)

    @property
    def atoms(self) -> int:
        """Size of the dictionary."""
        return len(self.image.first)

    @property
    def rows(self) -> int:
        """Images and texts together."""
        return self.image.rows + self.text.rows

    @property
    def energy(self) -> Floats:
        """Each atom's energy over all inputs, images and texts weighted alike."""
        return (self.image.energy + self.text.energy) / 2

    @property
    def frequency(self) -> Floats:
        """Share of all inputs in which each atom fires."""
        return (self.image.fires + self.text.fires) / max(self.rows, 1)

    @property
    def modality_score(self) -> Floats:
        """Image energy as a share of image plus text energy: 1 is image, 0 text, NaN dead (paper 1.5)."""
        return modality_score(self.image.energy, self.text.energy)

    def classes(self, epsilon: float = EPSILON) -> AtomClasses:
        """Cut the modality score at `epsilon` and 1 - `epsilon`; dead atoms are a class of their own."""
        return classes_of_scores(self.modality_score, epsilon)

    def energy_share(self, atom_mask: Mask) -> float:
        """Share of the total energy that the atoms of `atom_mask`, `(atoms,)`, hold; 0 if there is no energy."""
        return float(energy_share(self.energy, atom_mask))

    def save(self, path: Path) -> None:
        """Write the sums as safetensors."""
        arrays = {"cross.data": self.cross.data, "cross.indices": self.cross.indices, "cross.indptr": self.cross.indptr}
        for name, part in (("image", self.image), ("text", self.text)):
            arrays |= {f"{name}.{key}": np.asarray(value) for key, value in vars(part).items()}
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        arrays = load_file(path)
        parts = []
        for name in ("image", "text"):
            sums = {key: arrays[f"{name}.{key}"] for key in ("first", "absolute", "second", "fires")}
            parts.append(ModalityStatistics(rows=int(arrays[f"{name}.rows"]), **sums))
        atoms = len(parts[0].first)
        csr = tuple(arrays[f"cross.{key}"] for key in ("data", "indices", "indptr"))
        return cls(parts[0], parts[1], sparse.csr_array(csr, shape=(atoms, atoms)))


def modality_score(image: Floats, text: Floats) -> Floats:
    """Return image energy as a share of both, arrays of one shape; in [0, 1], NaN where both are 0 (paper 1.5)."""
    total = image + text
    score: Floats = np.divide(image, total, out=np.full(total.shape, np.nan), where=total > 0)
    return score


def energy_share(energy: Floats, members: Mask) -> Floats:
    """Return the share of the energy that some atoms hold; in [0, 1], 0 where there is no energy (paper 1.5).

    energy: `(atoms, …)`; members: `(atoms, …)` bool, atoms that may differ from column to column.
    """
    total = energy.sum(axis=0)
    held = np.where(members, energy, 0.0).sum(axis=0)
    share: Floats = np.divide(held, total, out=np.zeros(np.shape(total)), where=total != 0)  # NaN of what is unknown
    return share


def classes_of_scores(score: Floats, epsilon: float = EPSILON) -> AtomClasses:
    """Return the classes of modality scores, `(atoms, …)`, NaN where an atom is dead (paper 1.5)."""
    dead = np.isnan(score)
    image_only, text_only = score > 1 - epsilon, score < epsilon
    return AtomClasses(~(dead | image_only | text_only), image_only, text_only, dead)


def code_matrix(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    """Return codes as a `(rows, atoms)` float64 matrix; an atom that repeats in a row has several entries: they add."""
    values = codes.values.detach().cpu().numpy().astype(np.float64).ravel()
    ends = np.arange(len(codes) + 1) * codes.indices.shape[1]
    return sparse.csr_array((values, codes.indices.cpu().numpy().ravel(), ends), (len(codes), atoms))


def merged_code_matrix(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    """Return codes as a `(rows, atoms)` float64 matrix of one entry an atom: squares and counts of it are right."""
    matrix = code_matrix(codes, atoms).copy()  # what follows sorts the indices in place, and they may be the codes' own
    matrix.sum_duplicates()
    return matrix
