"""Reconstruction and alignment, on indices and values alone: nothing here is batch × atoms (paper 1.4)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from isoenergy.codes import SparseCodes

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


def _inner(a: SparseCodes, b: SparseCodes) -> Tensor:
    """`(batch,)` inner products of dense codes; a sum over all k² meetings counts repeated atoms rightly."""
    meet = a.indices.unsqueeze(2) == b.indices.unsqueeze(1)
    return torch.einsum("bi,bij,bj->b", a.values, meet.to(a.values.dtype), b.values)


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
