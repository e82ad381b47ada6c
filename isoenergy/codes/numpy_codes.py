"""Sparse codes as numpy arrays, for those who have theirs in numpy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class NumpyCodes:
    """Which atoms make up each row, and how strongly.

    indices: `(batch, k)` int32, the atom chosen in each round. An atom may repeat in a row: its values add.
    values: `(batch, k)`, the coefficient of each round.
    residual: `(batch, dim)`, what is left of the prepared row after the last round.
    """

    indices: npt.NDArray[np.int32]
    values: npt.NDArray[np.floating]
    residual: npt.NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.indices)

    def keep(self, atom_mask: npt.ArrayLike) -> "NumpyCodes":
        """Zero the coefficients of every atom outside `atom_mask`, `(atoms,)` bool; see `SparseCodes.keep`."""
        mask = np.asarray(atom_mask)
        require_atom_mask(mask, mask.dtype == np.bool_, int(self.indices.max(initial=-1)))
        return NumpyCodes(self.indices, self.values * mask[self.indices], self.residual)


def require_atom_mask(mask: Any, is_bool: bool, last_atom: int) -> None:
    """Raise ValueError unless a tensor or an array is an `(atoms,)` mask that reaches as far as the codes' atoms."""
    if not is_bool or mask.ndim != 1:
        raise ValueError(f"atom_mask must be an (atoms,) bool tensor or array, got {mask!r}")
    if last_atom >= len(mask):
        raise ValueError(f"atom_mask is for {len(mask)} atoms, and the codes have atom {last_atom}")
