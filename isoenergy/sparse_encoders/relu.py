"""ReLU with an L1 penalty: the classical sparse autoencoder."""

from torch import Tensor

from isoenergy.codes.sparse_codes import DenseCodes
from isoenergy.sparse_encoders.learned import LearnedEncoder


class ReLUModule(LearnedEncoder[DenseCodes]):
    """Every atom with a positive score."""

    def __init__(self, dictionary: Tensor, k: int, l1: float) -> None:
        super().__init__(dictionary, k)
        self._l1 = l1

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> DenseCodes:
        """Encode each row by itself."""
        del gram
        values = self.scores(x).relu()
        return DenseCodes(values, x - values @ dictionary)

    def penalty(self, codes: DenseCodes, dictionary: Tensor) -> Tensor:
        """The L1 norm, each atom weighted by its norm, lest free atoms escape it by growing."""
        weighted = codes.values @ dictionary.norm(dim=1)
        penalty: Tensor = self._l1 * weighted.mean() / dictionary.shape[1]
        return penalty
