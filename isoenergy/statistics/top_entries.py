"""The pairs that fire each atom most: a sort of the codes' entries, part by part, never pairs × atoms."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from isoenergy.codes.sparse_codes import SparseCodes

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class TopPairs:
    """The strongest pairs of every atom that fires; arrays of one length, by atom, then rank.

    Strongest: by coefficient, of those above 0; of equal ones the pair that comes first.
    """

    atoms: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.int64]
    """Numbers of the pairs."""
    values: npt.NDArray[np.float32]
    """Their coefficients."""

    @classmethod
    def none(cls) -> Self:
        """Return those of no pairs."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))

    @classmethod
    def of(cls, codes: SparseCodes, first_pair: int, count: int) -> Self:
        """Return at most `count` pairs an atom; the first row of `codes` is the pair `first_pair`."""
        found = cls.none()
        for start in range(0, len(codes), _ROWS_AT_ONCE):
            block = codes.rows(slice(start, start + _ROWS_AT_ONCE))
            values = block.merged_values().numpy()
            fires = values > 0
            pairs = first_pair + start + np.nonzero(fires)[0]
            found = found.merge(cls(block.indices.numpy()[fires], pairs, values[fires]), count)
        return found

    def merge(self, other: "TopPairs", count: int) -> Self:
        """Return at most `count` pairs an atom out of both."""
        atoms, pairs, values = (
            np.concatenate([getattr(part, name) for part in (self, other)]) for name in ("atoms", "pairs", "values")
        )
        order = np.lexsort((pairs, -values, atoms))
        kept = order[self._ranks(atoms[order]) < count]
        return type(self)(atoms[kept], pairs[kept], values[kept])

    @property
    def ranks(self) -> npt.NDArray[np.int64]:
        """Each pair's place among its atom's, from 0."""
        return self._ranks(self.atoms)

    @staticmethod
    def _ranks(sorted_atoms: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        return np.arange(len(sorted_atoms)) - np.searchsorted(sorted_atoms, sorted_atoms)
