"""Sparse codes: k atoms and k coefficients a row, never a dense batch × atoms array."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseCodes:
    """The outcome of a pursuit, one row a sample.

    indices: `(batch, k)` int32, the atom chosen in each round. An atom may repeat in a row: its values add.
    values: `(batch, k)`, the coefficient of each round.
    residual: `(batch, dim)`, what is left of the input after the last round; reconstruction = input - residual.
    """

    indices: Tensor
    values: Tensor
    residual: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, rows: int) -> tuple["SparseCodes", "SparseCodes"]:
        """Return the first `rows` rows and the rest."""
        first = SparseCodes(self.indices[:rows], self.values[:rows], self.residual[:rows])
        return first, SparseCodes(self.indices[rows:], self.values[rows:], self.residual[rows:])

    def to_dense(self, atoms: int) -> Tensor:
        """Return the codes as a dense `(batch, atoms)` array. For small cases and tests: it is batch × atoms."""
        dense = self.values.new_zeros(len(self), atoms)
        return dense.scatter_add(1, self.indices.long(), self.values)

    def merged_values(self) -> Tensor:
        """Return `(batch, k)` values in which a repeated atom's sum stands at its first place and zeros at the others.

        Squares, absolute values and counts of a code are only right on merged values.
        """
        same = self.indices.unsqueeze(2) == self.indices.unsqueeze(1)
        total = (same * self.values.unsqueeze(1)).sum(2)
        repeats_an_earlier_round = same.tril(diagonal=-1).any(2)
        return torch.where(repeats_an_earlier_round, 0.0, total)

    def used_atoms(self, atoms: int) -> Tensor:
        """Return `(atoms,)` uint8: 1 for each atom that has a coefficient other than 0 in some row."""
        used = torch.zeros(atoms, dtype=torch.uint8, device=self.indices.device)
        chosen = (self.values != 0).to(torch.uint8)
        return used.scatter_reduce_(0, self.indices.flatten().long(), chosen.flatten(), "amax")

    def keep(self, atom_mask: Tensor) -> "SparseCodes":
        """Zero the coefficients of every atom outside `atom_mask`, `(atoms,)` bool, with no re-encoding (paper 4.1)."""
        return SparseCodes(self.indices, self.values * atom_mask[self.indices], self.residual)
