"""JumpReLU: a learned threshold an atom, a penalty on the number of atoms (Rajamanoharan et al. 2024, 2407.14435)."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoenergy.codes.sparse_codes import DenseCodes
from isoenergy.errors import InputError
from isoenergy.sparse_encoders.learned import LearnedEncoder
from isoenergy.sparse_encoders.sparse_encoder import EncoderModule, SparseEncoder


@dataclass(frozen=True)
class JumpReLU(SparseEncoder):
    """Every atom whose score passes its own learned threshold; the number of them is penalised, k is its scale."""

    name: str = field(default="jump-relu", init=False)
    l0: float = 0.1
    """Weight of a row's number of atoms, in multiples of k, relative to its squared error summed over its entries."""
    threshold: float = 0.05
    """Where the thresholds start, on the scale of the rows' norm."""
    bandwidth: float = 0.05
    """Width of the window around a threshold in which scores move it."""

    def __post_init__(self) -> None:
        if not 0 <= self.l0 < math.inf:
            raise InputError(f"l0 must be 0 or more, got {self.l0}")
        for name in ("threshold", "bandwidth"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")

    def build(self, dictionary: Tensor, k: int) -> EncoderModule:
        """Return the module."""
        return _JumpReLU(dictionary, k, self)


class _JumpReLU(LearnedEncoder[DenseCodes]):
    def __init__(self, dictionary: Tensor, k: int, settings: JumpReLU) -> None:
        super().__init__(dictionary, k)
        self._l0, self._bandwidth = settings.l0, settings.bandwidth
        start = torch.full_like(dictionary[:, 0], settings.threshold)
        self.log_threshold = nn.Parameter(start.log())
        self._fires: Tensor | None = None

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> DenseCodes:
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
