"""What the towers compute in, and what that costs."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity

from isoenergy.encoders.dual_encoder import ComparableEncoder, DualEncoder, Pixels, Precision, Tokens
from isoenergy.errors import InputError


@dataclass(frozen=True)
class CosineToFloat32:
    """The lowest cosine between an encoder's rows and the same rows in float32; 1 for an encoder in float32."""

    image: float
    text: float


def cosine_to_float32(encoder: DualEncoder, pixels: Pixels, tokens: Tokens) -> CosineToFloat32:
    """Compare the encoder's outputs with those of the same weights in float32, over one batch.

    pixels: `(n, height, width, 3)` uint8, preprocessed for this encoder, n ≥ 1.
    tokens: of at least one text.
    Raises InputError for an encoder of the user's own in bfloat16 without `in_float32`.
    """
    if encoder.precision == "float32":
        return CosineToFloat32(1.0, 1.0)
    if not isinstance(encoder, ComparableEncoder):
        raise InputError(
            f"{encoder.name} computes in {encoder.precision} and has no in_float32(), which would return it in float32"
        )
    exact = encoder.in_float32()
    image = cosine_similarity(encoder.encode_pixels(pixels), exact.encode_pixels(pixels))
    text = cosine_similarity(encoder.encode_tokens(tokens), exact.encode_tokens(tokens))
    return CosineToFloat32(image.min().item(), text.min().item())


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which the towers compute."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
