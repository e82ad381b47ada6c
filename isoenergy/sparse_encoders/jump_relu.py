"""JumpReLU: a learned threshold an atom, a penalty on the number of atoms (Rajamanoharan et al. 2024, 2407.14435)."""

from typing import Any

import torch
from torch import Tensor, nn

from isoenergy.codes.sparse_codes import DenseCodes
from isoenergy.sparse_encoders.learned import LearnedEncoder


class JumpReLUModule(LearnedEncoder[DenseCodes]):
    """A threshold an atom, learned through a window around it."""

    def __init__(self, dictionary: Tensor, k: int, l0: float, threshold: float, bandwidth: float) -> None:
        super().__init__(dictionary, k)
        self._l0, self._bandwidth = l0, bandwidth
        start = torch.full_like(dictionary[:, 0], threshold)
        self.log_threshold = nn.Parameter(start.log())
        self._fires: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: not what the next penalty is of, which only belongs to a step of this module."""
        return {**self.__dict__, "_fires": None}

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> DenseCodes:
        """Encode each row by itself."""
        del gram
        scores, threshold = self.scores(x).relu(), self.log_threshold.exp()
        values = _Jump.apply(scores, threshold, self._bandwidth)
        if self.training:
            self._fires = _Step.apply(scores, threshold, self._bandwidth)
        return DenseCodes(values, x - values @ dictionary)

    def penalty(self, codes: DenseCodes, dictionary: Tensor) -> Tensor:
        """The number of atoms a row, of the rows encoded last."""
        del codes
        if self._fires is None:
            return dictionary.new_zeros(())
        fires, self._fires = self._fires, None
        return self._l0 * fires.sum(1).mean() / (self.k * dictionary.shape[1])


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(scores, threshold)
        ctx.bandwidth = bandwidth
        return scores * (scores > threshold)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        scores, threshold = ctx.saved_tensors
        near = (scores - threshold).abs() < ctx.bandwidth / 2
        by_threshold = -(threshold / ctx.bandwidth) * (near * gradient).sum(0)
        return gradient * (scores > threshold), by_threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(scores, threshold)
        ctx.bandwidth = bandwidth
        return (scores > threshold).to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        scores, threshold = ctx.saved_tensors
        near = (scores - threshold).abs() < ctx.bandwidth / 2
        return None, -(near * gradient).sum(0) / ctx.bandwidth, None
