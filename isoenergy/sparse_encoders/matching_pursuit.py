"""Matching Pursuit: no weights beside the dictionary, no bias (paper 1.3)."""

from dataclasses import dataclass, field

from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit import matching_pursuit
from isoenergy.sparse_encoders.sparse_encoder import EncoderModule, SparseEncoder


@dataclass(frozen=True)
class MatchingPursuit(SparseEncoder):
    """k rounds, each of which takes the atom with the largest correlation: the paper's."""

    name: str = field(default="matching-pursuit", init=False)

    def build(self, dictionary: Tensor, k: int) -> EncoderModule:
        """Return the module."""
        del dictionary
        return _Pursuit(k)


class _Pursuit(EncoderModule[SparseCodes]):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> SparseCodes:
        return matching_pursuit(x, dictionary, self.k, gram=gram)

    def revival(self, x: Tensor, codes: SparseCodes, dictionary: Tensor, dead: Tensor) -> Tensor:
        """One round over the dead atoms alone: each row pulls the one nearest to its residual towards it.

        Source: the auxiliary loss of Gao et al. 2024 (2406.04093), here by pursuit.
        """
        del x
        if not dead.any():
            return codes.residual.new_zeros(())
        return matching_pursuit(codes.residual.detach(), dictionary[dead], 1).residual.square().mean()
