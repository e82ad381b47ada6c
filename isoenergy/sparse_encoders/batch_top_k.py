"""BatchTopK: the largest scores of a whole batch, k a row on average (Bussmann et al. 2024, 2412.06410)."""

import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import DenseCodes
from isoenergy.distributed import largest_of_all, rows_of_all
from isoenergy.sparse_encoders.learned import LearnedEncoder

_FOLLOWS = 0.01


class BatchTopKModule(LearnedEncoder[DenseCodes]):
    """In training the threshold is the batch's; a running mean of it serves evaluation, where rows are alone."""

    threshold: Tensor

    def __init__(self, dictionary: Tensor, k: int) -> None:
        super().__init__(dictionary, k)
        self.register_buffer("threshold", dictionary.new_full((), -1.0))

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> DenseCodes:
        """Encode with the threshold of the batch, or the usual one."""
        del gram
        scores = self.scores(x).relu()
        threshold = self._batch_threshold(scores.detach()) if self.training else self._usual_threshold()
        values = torch.where(scores >= threshold, scores, 0.0)
        return DenseCodes(values, x - values @ dictionary)

    def _usual_threshold(self) -> Tensor:
        if self.threshold < 0:
            raise ValueError(
                "batch-top-k has no threshold yet: train it, or set one with isoenergy.sae.calibration.calibrate(sae, "
                "prepared_rows)"
            )
        return self.threshold

    def _batch_threshold(self, scores: Tensor) -> Tensor:
        threshold = largest_of_all(scores.flatten(), self.k * rows_of_all(len(scores), scores.device)).min()
        if self.threshold < 0:
            self.threshold.copy_(threshold)
        else:
            self.threshold.lerp_(threshold, _FOLLOWS)
        return threshold
