"""An autoencoder read from another library's files, before it is one: what it is, and its weights by our names."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.sae_config import AtomNorm, Input, SaeConfig
from isoenergy.sparse_encoders import JumpReLU, SparseEncoder, TopK

_UNIT = 1e-3
"""How far a norm may be from 1 and count as it."""
_LEAST_THRESHOLD = 1e-30
"""Where a threshold is 0 or below, any positive score passes it."""


@dataclass(frozen=True)
class ForeignWeights:
    """What it is, and the tensors that `SparseAutoencoder.load_state_dict` takes."""

    config: SaeConfig
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """How the scores of a learned encoder come about: `weight @ x + bias`."""

    weight: Tensor
    """`(atoms, dim)`."""
    bias: Tensor
    """`(atoms,)`."""
    subtracts_bias: bool
    """Whether the decoder's bias is subtracted from x before."""

    def rescaled(self, factors: Tensor) -> "Scores":
        """Return it with the scores multiplied by `(atoms,)` factors."""
        return replace(self, weight=self.weight * factors[:, None], bias=self.bias * factors)


def weights_of(
    encoder: SparseEncoder,
    k: int | None,
    dictionary: Tensor,
    decoder_bias: Tensor | None,
    taken: Input,
    scores: Scores | None = None,
    threshold: Tensor | None = None,
) -> ForeignWeights:
    """Return an autoencoder of these parts.

    k: None if nothing bounds a row's atoms. dictionary: `(atoms, dim)`. decoder_bias: `(dim,)`, or None without one.
    taken: which rows it takes. scores: of an encoder with weights. threshold: `(atoms,)` of a JumpReLU, or one number
    of a BatchTopK; None if it is not known.
    """
    dictionary = dictionary.float()
    norms = dictionary.norm(dim=1)
    atom_norm: AtomNorm = "unit" if bool(((norms - 1).abs() <= _UNIT).all()) else "free"
    bias = None if decoder_bias is None or not decoder_bias.any() else decoder_bias.float()
    atoms, dim = dictionary.shape
    if isinstance(encoder, TopK) and k is not None and k > atoms:
        raise InputError(f"it says k {k}, and has {atoms} atoms to choose among")
    config = SaeConfig(
        dim=dim,
        atoms=atoms,
        k=atoms if k is None else min(k, atoms),
        beta=0.0,
        sparse_encoder=encoder,
        atom_norm=atom_norm,
        input=taken,
        decoder_bias=bias is not None,
    )
    tensors = {"dictionary": dictionary}
    if bias is not None:
        tensors["decoder_bias"] = bias
    if scores is not None:
        weight, offset = scores.weight.float(), scores.bias.float()
        if bias is not None and not scores.subtracts_bias:  # `prepare` does
            offset = offset + weight @ bias
        tensors |= {"encoder.weight": weight, "encoder.bias": offset}
    if isinstance(encoder, JumpReLU):
        assert threshold is not None
        tensors["encoder.log_threshold"] = threshold.float().clamp_min(_LEAST_THRESHOLD).log()
    elif encoder.name == "batch-top-k":
        tensors["encoder.threshold"] = torch.tensor(-1.0) if threshold is None else threshold.float()
    return ForeignWeights(config, {name: tensor.contiguous() for name, tensor in tensors.items()})


def input_of(source: ForeignSource) -> Input:
    """Return which rows an autoencoder takes: those given, unless the source says `input=normalised`."""
    asked = source.options.get("input", "raw")
    if asked == "normalised":
        return "normalised"
    if asked == "raw":
        return "raw"
    raise InputError(f"input of {source} must be raw or normalised, got {asked!r}")


def part(tensors: dict[str, Tensor], name: str, *shape: int | None) -> Tensor:
    """Return a tensor of this name and shape, None for any size; raises InputError, with what is there, if none is."""
    found = tensors.get(name)
    if found is None:
        raise InputError(f"the weights have no {name}; they have {', '.join(sorted(tensors)[:8])}")
    if found.ndim != len(shape) or any(own not in (None, size) for own, size in zip(shape, found.shape, strict=True)):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise InputError(f"{name} must be of shape ({expected}), got {tuple(found.shape)}")
    if not found.is_floating_point():
        raise InputError(f"{name} must be floats, got {found.dtype}")
    return found.detach().cpu()
