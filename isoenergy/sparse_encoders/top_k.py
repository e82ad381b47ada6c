"""TopK: the k largest scores of each row (Gao et al. 2024, 2406.04093)."""

from torch import Tensor, nn

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.sparse_encoders.learned import LearnedEncoder


class TopKModule(LearnedEncoder[SparseCodes]):
    """The k largest scores of each row, negative ones set to 0."""

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> SparseCodes:
        """Encode each row by itself."""
        del gram
        values, indices = self.scores(x).topk(min(self.k, len(dictionary)), dim=1)
        values = values.relu()
        rebuilt = nn.functional.embedding_bag(indices, dictionary, per_sample_weights=values, mode="sum")
        return SparseCodes(indices.int(), values, x - rebuilt)
