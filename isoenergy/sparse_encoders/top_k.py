"""TopK: the k largest scores of each row (Gao et al. 2024, 2406.04093)."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.sparse_encoders.learned import LearnedEncoder
from isoenergy.sparse_encoders.sparse_encoder import EncoderModule, SparseEncoder


@dataclass(frozen=True)
class TopK(SparseEncoder):
    """The k largest scores of each row, negative ones set to 0."""

    name: str = field(default="top-k", init=False)

    def build(self, dictionary: Tensor, k: int) -> EncoderModule:
        """Return the module."""
        return _TopK(dictionary, k)


class _TopK(LearnedEncoder[SparseCodes]):
    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> SparseCodes:
        del gram
        values, indices = self.scores(x).topk(min(self.k, len(dictionary)), dim=1)
        values = values.relu()
        rebuilt = nn.functional.embedding_bag(indices, dictionary, per_sample_weights=values, mode="sum")
        return SparseCodes(indices.int(), values, x - rebuilt)
