"""Dual encoders behind one protocol."""

from isoenergy.encoders.loading import load_encoder, load_preprocessor
from isoenergy.encoders.protocol import DualEncoder, Preprocessor

__all__ = ["DualEncoder", "Preprocessor", "load_encoder", "load_preprocessor"]
