"""What every method comes to: codes of a row, and a direction of each atom in each modality."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from isoenergy.settings.modalities import MODALITIES

_BLOCK_ROWS = 4096

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FittedMethod:
    """A method after its training. Column j of both modalities' codes is one concept, whatever directions it has.

    Codes are dense here, `(rows, atoms)`: the arena measures thousands of rows, never a whole store.
    """

    encoders: Mapping[str, Encode]
    """By modality: `(rows, dim)` unit rows to `(rows, atoms)` coefficients; a row alone, whatever its partner is."""
    dictionaries: Mapping[str, Tensor]
    """By modality: `(atoms, dim)`, of any norm."""
    offsets: Mapping[str, Tensor]
    """By modality: `(dim,)`, what is added to the sum of the atoms; zeros for most methods."""

    @classmethod
    def of_shared(cls, encode: Encode, dictionary: Tensor, offset: Tensor | None = None) -> "FittedMethod":
        """Return a method with one encoder, one `(atoms, dim)` dictionary and one `(dim,)` offset for both modalities.

        offset: none is zeros.
        """
        offset = dictionary.new_zeros(dictionary.shape[1]) if offset is None else offset
        return cls(
            dict.fromkeys(MODALITIES, encode), dict.fromkeys(MODALITIES, dictionary), dict.fromkeys(MODALITIES, offset)
        )

    @property
    def atoms(self) -> int:
        """Columns of the codes."""
        return len(self.dictionaries["image"])

    @property
    def shared(self) -> bool:
        """Whether each atom has the same direction in both modalities."""
        return torch.equal(self.dictionaries["image"], self.dictionaries["text"])

    @torch.no_grad()
    def encode(self, rows: Tensor, modality: str) -> Tensor:
        """Return the `(rows, atoms)` codes of `(rows, dim)` unit rows of a modality."""
        return torch.cat([self.encoders[modality](part) for part in rows.split(_BLOCK_ROWS)])

    def decode(self, codes: Tensor, modality: str) -> Tensor:
        """Return the `(rows, dim)` that codes rebuild as rows of a modality; those of the other one translate."""
        return codes @ self.dictionaries[modality] + self.offsets[modality]
