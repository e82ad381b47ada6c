"""Reconstruction and alignment, on indices and values alone: nothing here is batch × atoms (paper 1.4)."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from isoenergy.codes import SparseCodes
from isoenergy.pursuit import matching_pursuit

_COSINE_FLOOR = 1e-8

AlignmentName = Literal["masked-cosine", "cosine"]


def reconstruction_loss(codes: SparseCodes) -> Tensor:
    """Return the mean over all entries of (x - reconstruction)².

    For unit rows it is (1 - R²)/dim: β is relative to this scale.
    """
    return codes.residual.square().mean()


def cosine_alignment(image: SparseCodes, text: SparseCodes) -> Tensor:
    """Return minus the mean cosine of paired codes: the alignment term as the paper's text defines it."""
    return -_paired_cosine(image, text).mean()


def masked_cosine_alignment(image: SparseCodes, text: SparseCodes) -> Tensor:
    """Return minus the mean cosine of paired codes without each modality's top atom: the term as the code defines it.

    In every pair the strongest atom of the image's code and that of the text's are left out of both codes, so that
    a modality's bias atom is exempt. Gradients flow through the coefficients; the mask is a constant.
    """
    tops = (_top_atom(image), _top_atom(text))
    return -_paired_cosine(_without(image, tops), _without(text, tops)).mean()


ALIGNMENTS: dict[AlignmentName, Callable[[SparseCodes, SparseCodes], Tensor]] = {
    "masked-cosine": masked_cosine_alignment,
    "cosine": cosine_alignment,
}


def revival_loss(codes: SparseCodes, dead_atoms: Tensor) -> Tensor:
    """Return the mean over all entries of what one round over the dead atoms alone leaves of the residual, squared.

    dead_atoms: `(dead, dim)`. Each row pulls the dead atom nearest to its residual towards it; nothing else has a
    gradient. 0 without dead atoms. Source: the auxiliary loss of Gao et al. 2024 (2406.04093), here by pursuit.
    """
    if not len(dead_atoms):
        return codes.residual.new_zeros(())
    return reconstruction_loss(matching_pursuit(codes.residual.detach(), dead_atoms, 1))


class _Inner(torch.autograd.Function):
    """Inner products of codes; which atoms meet is found again in backward, not kept: that is batch × k²."""

    @staticmethod
    def forward(ctx: Any, a_indices: Tensor, a_values: Tensor, b_indices: Tensor, b_values: Tensor) -> Tensor:
        ctx.save_for_backward(a_indices, a_values, b_indices, b_values)
        return (a_values * _met(a_indices, b_indices, b_values)).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        a_indices, a_values, b_indices, b_values = ctx.saved_tensors
        gradient = gradient.unsqueeze(1)
        by_a = gradient * _met(a_indices, b_indices, b_values) if ctx.needs_input_grad[1] else None
        by_b = gradient * _met(b_indices, a_indices, a_values) if ctx.needs_input_grad[3] else None
        return None, by_a, None, by_b


def _met(a_indices: Tensor, b_indices: Tensor, b_values: Tensor) -> Tensor:
    """`(batch, k)`: what the other code has at each atom of this one; all k² meetings count, so repeats add up."""
    meet = a_indices.unsqueeze(2) == b_indices.unsqueeze(1)
    return torch.bmm(meet.to(b_values.dtype), b_values.unsqueeze(2)).squeeze(2)


def _inner(a: SparseCodes, b: SparseCodes) -> Tensor:
    """`(batch,)` inner products of dense codes."""
    return _Inner.apply(a.indices, a.values, b.indices, b.values)


def _paired_cosine(image: SparseCodes, text: SparseCodes) -> Tensor:
    squared = (_inner(image, image) * _inner(text, text)).clamp_min(_COSINE_FLOOR**2)
    return _inner(image, text) / squared.sqrt()


def _top_atom(codes: SparseCodes) -> Tensor:
    """`(batch, 1)` index of the atom with the largest merged coefficient."""
    place = codes.merged_values().detach().argmax(dim=1, keepdim=True)
    return codes.indices.gather(1, place)


def _without(codes: SparseCodes, atoms: tuple[Tensor, Tensor]) -> SparseCodes:
    kept = (codes.indices != atoms[0]) & (codes.indices != atoms[1])
    return SparseCodes(codes.indices, codes.values * kept, codes.residual)
