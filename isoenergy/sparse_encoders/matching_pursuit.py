"""Matching Pursuit: no weights beside the dictionary, no bias (paper 1.3)."""

from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit import PursuitPolicy, matching_pursuit
from isoenergy.sparse_encoders.encoder_module import EncoderModule


class PursuitModule(EncoderModule[SparseCodes]):
    """Rounds of pursuit over the autoencoder's own dictionary."""

    def __init__(self, k: int, policy: PursuitPolicy) -> None:
        super().__init__()
        self.k, self.policy = k, policy

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> SparseCodes:
        """Encode by pursuit; where rows end early, for use, codes are as wide as the fullest row.

        In training nothing waits for a GPU: the rows were looked at where they are read, and a report tells of
        dictionaries that are not finite.
        """
        codes = matching_pursuit(x, dictionary, self.k, policy=self.policy, gram=gram, looked_at=self.training)
        if self.training or not (self.policy.stops or self.policy.repeats == "end"):
            return codes
        last = (codes.values != 0).any(dim=0).nonzero()
        rounds = int(last[-1]) + 1 if len(last) else 1
        return SparseCodes(codes.indices[:, :rounds], codes.values[:, :rounds], codes.residual)

    def revival(self, x: Tensor, codes: SparseCodes, dictionary: Tensor, dead: Tensor) -> Tensor:
        """One round over the dead atoms alone: each row pulls the one nearest to its residual towards it.

        Source: the auxiliary loss of Gao et al. 2024 (2406.04093), here by pursuit.
        """
        del x
        if not dead.any():
            return codes.residual.new_zeros(())
        return matching_pursuit(codes.residual.detach(), dictionary[dead], 1).residual.square().mean()
