"""Where each atom fires, the largest coefficient first: what an atom's page is read from, in place of pairs × atoms."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

Bounds = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AtomEntries:
    """The coefficients other than 0 of one modality's codes, by atom, then by size."""

    starts: Bounds
    """`(atoms + 1,)`: an atom's entries are those from its number's place to the next."""
    pairs: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    @classmethod
    def of(cls, indices: npt.NDArray[np.int32], values: npt.NDArray[np.float32], atoms: int) -> Self:
        """Sort `(pairs, k)` codes in which no atom repeats but with a coefficient of 0."""
        pairs, rounds = np.nonzero(values)
        numbers, coefficients = indices[pairs, rounds], values[pairs, rounds]
        order = np.lexsort((pairs, -np.abs(coefficients), numbers))
        starts = np.searchsorted(numbers[order], np.arange(atoms + 1))
        return cls(starts.astype(np.int64), pairs[order].astype(np.int32), coefficients[order])

    def __getitem__(self, atom: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the pairs in which an atom fires, and its coefficients there, the largest first."""
        own = slice(self.starts[atom], self.starts[atom + 1])
        return self.pairs[own], self.values[own]

    @property
    def fires(self) -> Bounds:
        """`(atoms,)` pairs in which each atom fires."""
        return np.diff(self.starts)

    def tops(self, count: int) -> tuple[Bounds, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the atoms, pairs and coefficients of the `count` first entries of each atom."""
        atoms = np.repeat(np.arange(len(self.starts) - 1), np.minimum(self.fires, count))
        ranks = np.arange(len(atoms)) - np.searchsorted(atoms, atoms)
        places = self.starts[atoms] + ranks
        return atoms, np.asarray(self.pairs[places]), np.asarray(self.values[places])

    def save(self, folder: Path, name: str) -> None:
        """Write three arrays that `load` maps."""
        for part, array in vars(self).items():
            np.save(folder / f"{name}-{part}.npy", array)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Map what `save` wrote."""
        return cls(*(np.load(folder / f"{name}-{part}.npy", mmap_mode="r") for part in ("starts", "pairs", "values")))
