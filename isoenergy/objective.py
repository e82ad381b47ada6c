"""Reconstruction and alignment, on codes alone: with sparse codes nothing here is batch × atoms (paper 1.4)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from isoenergy.codes.sparse_codes import Codes
from isoenergy.distributed import rows_of_all, sum_of_all

_COSINE_FLOOR = 1e-8
_ENERGY_FLOOR = 1e-5


def reconstruction_loss(codes: Codes) -> Tensor:
    """Return the mean over all entries of (x - reconstruction)².

    For unit rows it is (1 - R²)/dim: β is relative to this scale.
    """
    loss: Tensor = _MeanSquare.apply(codes.residual)
    return loss


def cosine_alignment(image: Codes, text: Codes) -> Tensor:
    """Return minus the mean cosine of paired codes: the alignment term as the paper's text defines it."""
    return -_paired_cosine(image, text).mean()


def masked_cosine_alignment(image: Codes, text: Codes) -> Tensor:
    """Return minus the mean cosine of paired codes without each modality's top atom: the term as the code defines it.

    In every pair the strongest atom of the image's code and that of the text's are left out of both codes, so that
    a modality's bias atom is exempt. Gradients flow through the coefficients; the mask is a constant.
    """
    tops = (image.strongest_atom(), text.strongest_atom())
    return -_paired_cosine(image.without(*tops), text.without(*tops)).mean()


def iso_energy_penalty(image: Codes, text: Codes, atoms: int) -> Tensor:
    """Return the mean over atoms of |E_I - E_T| / (E_I + E_T), E being an atom's mean squared coefficient.

    It needs no pairs: it compares the two modalities as populations, those of all processes together.
    Source: the Iso-Energy hypothesis (paper 1.2), as a loss in the authors' released code (paper 1.4).
    """
    energies = []
    for codes in (image, text):
        rows = len(codes.residual)
        total = sum_of_all(codes.energy(atoms) * rows)
        energies.append(total / max(rows_of_all(rows, total.device), 1))
    one, other = energies
    return ((one - other).abs() / (one + other + _ENERGY_FLOOR)).mean()


def group_sparsity(image: Codes, text: Codes) -> Tensor:
    """Return the mean over pairs of Σ_j ‖(z_image[j], z_text[j])‖₂: it is least where both modalities share atoms."""
    return image.group_norms(text).mean()


def _paired_cosine(image: Codes, text: Codes) -> Tensor:
    squared = (image.inner(image) * text.inner(text)).clamp_min(_COSINE_FLOOR**2)
    return image.inner(text) / squared.sqrt()


class _MeanSquare(torch.autograd.Function):
    """`x.square().mean()` of `(batch, dim)`, in one pass over memory, and its gradient likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        mean: Tensor = torch.linalg.vector_norm(x, dim=1).square().mean() / x.shape[1]
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        by_x: Tensor = x * (2 * (gradient / x.numel()))
        return by_x
