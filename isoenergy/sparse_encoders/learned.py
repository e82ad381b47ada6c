"""What encoders with weights have in common: an affine map to a score for each atom."""

import torch
from torch import Tensor, nn

from isoenergy.pursuit.checks import check_finite
from isoenergy.sparse_encoders.encoder_module import CodesT, EncoderModule


class LearnedEncoder(EncoderModule[CodesT]):
    """`weight` `(atoms, dim)` starts as the dictionary, `bias` `(atoms,)` as zeros."""

    def __init__(self, dictionary: Tensor, k: int) -> None:
        super().__init__()
        self.k = k
        self.weight = nn.Parameter(dictionary.detach().clone())
        self.bias = nn.Parameter(dictionary.new_zeros(len(dictionary)))

    def scores(self, x: Tensor) -> Tensor:
        """Return the `(batch, atoms)` scores of the rows; raises ValueError if one is not finite."""
        check_finite(x, "x")
        return torch.addmm(self.bias, x, self.weight.T)

    def revival(self, x: Tensor, codes: CodesT, dictionary: Tensor, dead: Tensor) -> Tensor:
        """AuxK: the dead atoms with the largest scores rebuild the residual (Gao et al. 2024, 2406.04093)."""
        residual = codes.residual.detach()
        count = int(dead.sum())
        if not count:
            return residual.new_zeros(())
        scores = torch.addmm(self.bias[dead], x, self.weight[dead].T)
        values, indices = scores.topk(min(count, self.k), dim=1)
        rebuilt = nn.functional.embedding_bag(indices, dictionary[dead], per_sample_weights=values.relu(), mode="sum")
        return (residual - rebuilt).square().mean()
