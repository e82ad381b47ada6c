"""ReLU with an L1 penalty: the classical sparse autoencoder."""

import math
from dataclasses import dataclass, field

from torch import Tensor

from isoenergy.codes.sparse_codes import DenseCodes
from isoenergy.errors import InputError
from isoenergy.sparse_encoders.learned import LearnedEncoder
from isoenergy.sparse_encoders.sparse_encoder import EncoderModule, SparseEncoder


@dataclass(frozen=True)
class ReLU(SparseEncoder):
    """Every atom with a positive score, the sum of which is penalised; k does not bound it."""

    name: str = field(default="relu", init=False)
    l1: float = 0.1
    """Weight of the L1 norm of a row's code, relative to the row's squared error summed over its entries."""

    def __post_init__(self) -> None:
        if not 0 <= self.l1 < math.inf:
            raise InputError(f"l1 must be 0 or more, got {self.l1}")

    def build(self, dictionary: Tensor, k: int) -> EncoderModule:
        """Return the module."""
        return _ReLU(dictionary, k, self.l1)


class _ReLU(LearnedEncoder[DenseCodes]):
    def __init__(self, dictionary: Tensor, k: int, l1: float) -> None:
        super().__init__(dictionary, k)
        self._l1 = l1

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> DenseCodes:
        del gram
        values = self.scores(x).relu()
        return DenseCodes(values, x - values @ dictionary)

    def penalty(self, codes: DenseCodes, dictionary: Tensor) -> Tensor:
        """The L1 norm, each atom weighted by its norm, lest free atoms escape it by growing."""
        weighted = codes.values @ dictionary.norm(dim=1)
        return self._l1 * weighted.mean() / dictionary.shape[1]
