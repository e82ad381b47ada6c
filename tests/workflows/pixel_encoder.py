"""`python:tests.workflows.pixel_encoder`: an encoder that is loaded at once, for tests that are not about encoders.

An image's embedding is its few pixels, a caption's how often each letter stands in it.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isoenergy.encoders.dual_encoder import Pixels, Precision, Tokens


class PixelPreprocessor:
    def __init__(self, height: int, width: int) -> None:
        self.shape = height, width, 3

    def __call__(self, image: Image.Image) -> Pixels:
        height, width, _ = self.shape
        return np.asarray(image.resize((width, height)))

    def describe(self) -> dict[str, Any]:
        return {"pixels": list(self.shape)}


class PixelEncoder:
    def __init__(self, module: str, preprocessor: PixelPreprocessor, precision: Precision) -> None:
        self.name, self.preprocessor, self.precision = f"python:{module}", preprocessor, precision
        self.dim = int(np.prod(preprocessor.shape))
        self.digest = sha256(module.encode()).hexdigest()

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        return torch.from_numpy(pixels).flatten(1).float() / 255

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return self.encode_pixels(np.stack([self.preprocessor(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self.encode_tokens(self.tokenise(texts))

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        letters = [np.frombuffer(text.encode(), np.uint8) % self.dim for text in texts]
        return (torch.from_numpy(np.stack([np.bincount(text, minlength=self.dim) for text in letters])),)

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        return tokens[0].float()


def load_encoder(_device: torch.device, precision: Precision, _compile: bool) -> PixelEncoder:
    return PixelEncoder(__name__, load_preprocessor(), precision)


def load_preprocessor() -> PixelPreprocessor:
    return PixelPreprocessor(2, 4)
