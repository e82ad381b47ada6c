"""Concept statistics as mergeable sums: the only pass over the data that evaluation needs."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.sums import MergeableSums
from isoenergy.statistics.thresholds import EPSILON

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_WAITING_PAIRS = 16_384
"""Pairs whose cross-moments are summed at a time: each sum passes over all that is there already."""
_ENTRIES_AT_ONCE = 2_000_000
"""Of cross-moments that are read and summed at a time where those of several files are merged."""


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

    def __init__(self, image: ModalityStatistics, text: ModalityStatistics, cross: sparse.csr_array | None) -> None:
        """Take sums as they are; `cross` is `(atoms, atoms)`, or None: `load` has left it out."""
        self.image, self.text = image, text
        self._cross = cross
        self._waiting: list[tuple[sparse.csr_array, sparse.csr_array]] = []

    @property
    def cross(self) -> sparse.csr_array:
        """`(atoms, atoms)`: the sum over pairs of z_image[j] · z_text[l]. ValueError if it was not loaded."""
        self._add_waiting()
        return self._known_cross

    @cross.setter
    def cross(self, cross: sparse.csr_array) -> None:
        self._cross, self._waiting = cross, []

    @property
    def _known_cross(self) -> sparse.csr_array:
        if self._cross is None:
            raise ValueError("these statistics were loaded without their cross-moments; load them with cross=True")
        return self._cross

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
            from isoenergy.statistics.cross_products import cross_products  # numba takes a second to load

            image, text = (sparse.vstack(part, format="csr") for part in zip(*self._waiting, strict=True))
            self._cross = self._known_cross + cross_products(image, text)
            self._waiting = []

    def merge(self, other: Self) -> Self:
        """Return the statistics of both sets of pairs."""
        return self._moments_merged(other, self.cross + other.cross)

    def _moments_merged(self, other: Self, cross: sparse.csr_array | None = None) -> Self:
        return type(self)(self.image.merge(other.image), self.text.merge(other.text), cross)

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
    def load(cls, path: Path, cross: bool = True) -> Self:
        """Read what `save` wrote. cross: the cross-moments too, whose size is up to atoms²; few ask for them."""
        with safe_open(path, framework="numpy") as file:
            parts = []
            for name in ("image", "text"):
                sums = {key: file.get_tensor(f"{name}.{key}") for key in ("first", "absolute", "second", "fires")}
                parts.append(ModalityStatistics(rows=int(file.get_tensor(f"{name}.rows")), **sums))
        return cls(parts[0], parts[1], _cross_rows(path, slice(0, len(parts[0].first))) if cross else None)

    @classmethod
    def load_merged(cls, paths: Sequence[Path]) -> Self:
        """Read what `save` wrote of several sets of pairs and return the statistics of all.

        Of the cross-moments nothing is held beside their sum but some rows.
        """
        whole = reduce(cls._moments_merged, (cls.load(path, cross=False) for path in paths))
        whole.cross = _summed_cross(paths)
        return whole


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


def _cross_rows(path: Path, rows: slice) -> sparse.csr_array:
    """Return some rows of the cross-moments in a file, which is mapped no longer than that: its pages would count."""
    with safe_open(path, framework="numpy") as file:
        indptr = file.get_tensor("cross.indptr")
        starts = indptr[rows.start : rows.stop + 1]
        shape, entries = (len(starts) - 1, len(indptr) - 1), slice(int(starts[0]), int(starts[-1]))
        if entries.start == entries.stop:  # safetensors takes no empty slices
            return sparse.csr_array(shape, dtype=np.float64)
        data, indices = (file.get_slice(f"cross.{key}")[entries] for key in ("data", "indices"))
    return sparse.csr_array((data, indices, starts - starts[0]), shape)


def _row_starts(path: Path) -> npt.NDArray[np.integer]:
    with safe_open(path, framework="numpy") as file:
        starts: npt.NDArray[np.integer] = file.get_tensor("cross.indptr")
        return starts


def _summed_cross(paths: Sequence[Path]) -> sparse.csr_array:
    """Return the sum of the cross-moments in several files, worked out some rows at a time."""
    starts = [_row_starts(path) for path in paths]
    atoms, read = len(starts[0]) - 1, sum(int(ends[-1]) for ends in starts)
    most = min(read, atoms**2)
    kind = np.int32 if most <= np.iinfo(np.int32).max else np.int64
    data, indices, indptr = np.empty(most), np.empty(most, kind), np.zeros(atoms + 1, kind)
    rows = max(1, atoms * _ENTRIES_AT_ONCE // max(read, 1))
    filled = 0
    for first in range(0, atoms, rows):
        block = slice(first, min(first + rows, atoms))
        found = reduce(operator.add, (_cross_rows(path, block) for path in paths))
        place = slice(filled, filled + found.nnz)
        data[place], indices[place] = found.data, found.indices
        indptr[block.start + 1 : block.stop + 1] = filled + found.indptr[1:]
        filled += found.nnz
    return sparse.csr_array((data[:filled], indices[:filled], indptr), (atoms, atoms))


def code_matrix(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    """Return codes as a `(rows, atoms)` float64 matrix; an atom that repeats in a row has several entries: they add."""
    values = codes.values.detach().cpu().numpy().astype(np.float64).ravel()
    kind = np.int32 if codes.indices.numel() <= np.iinfo(np.int32).max else np.int64
    ends = np.arange(len(codes) + 1, dtype=kind) * codes.indices.shape[1]
    return sparse.csr_array((values, codes.indices.cpu().numpy().ravel(), ends), (len(codes), atoms))


def merged_code_matrix(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    """Return codes as a `(rows, atoms)` float64 matrix of one entry an atom: squares and counts of it are right."""
    matrix = code_matrix(codes, atoms).copy()  # what follows sorts the indices in place, and they may be the codes' own
    matrix.sum_duplicates()
    return matrix
