"""Dual encoders behind one protocol."""

from isoenergy.encoders.loading import load_encoder, load_preprocessor
from isoenergy.encoders.precision import CosineToFloat32, cosine_to_float32
from isoenergy.encoders.protocol import DualEncoder, Precision, Preprocessor

__all__ = [
    "CosineToFloat32",
    "DualEncoder",
    "Precision",
    "Preprocessor",
    "cosine_to_float32",
    "load_encoder",
    "load_preprocessor",
]
