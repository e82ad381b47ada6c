"""`python:tests.workflows.small_pixel_encoder`: `pixel_encoder` on fewer pixels."""

import torch

from isoenergy.encoders.dual_encoder import Precision
from tests.workflows.pixel_encoder import PixelEncoder, PixelPreprocessor


def load_encoder(_device: torch.device, precision: Precision, _compile: bool) -> PixelEncoder:
    return PixelEncoder(__name__, load_preprocessor(), precision)


def load_preprocessor() -> PixelPreprocessor:
    return PixelPreprocessor(2, 2)
