"""An encoder that takes the time of a real one and computes nothing: what is left is the engine.

`python:tests.benchmarks.sleeping_encoder` sleeps as long as CLIP L/14 takes on an A100 by clip-retrieval's published
speed, 312 pairs a second. A pair's embeddings follow from its caption alone, so that a store can be checked.
"""

import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isoenergy.encoders import Precision
from isoenergy.encoders.dual_encoder import Pixels, Tokens

NAME = "python:tests.benchmarks.sleeping_encoder"
DIM = 768
PAIRS_PER_SECOND = 312


def expected(caption: str) -> np.ndarray:
    """Return the `(dim,)` text embedding of a caption."""
    return np.random.default_rng(zlib.crc32(caption.encode())).standard_normal(DIM, np.float32)


class SleepingPreprocessor:
    shape = (2, 2, 3)

    def __call__(self, image: Image.Image) -> Pixels:
        return np.asarray(image.resize((2, 2)))

    def describe(self) -> dict[str, Any]:
        return {"size": 2}


class SleepingEncoder:
    name, dim, digest = NAME, DIM, "0" * 64
    preprocessor = SleepingPreprocessor()

    def __init__(self, precision: Precision) -> None:
        self.precision = precision

    def in_float32(self) -> "SleepingEncoder":
        return SleepingEncoder("float32")

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        time.sleep(len(pixels) / PAIRS_PER_SECOND)
        return torch.from_numpy(pixels.reshape(len(pixels), -1).mean(1, keepdims=True).astype(np.float32)).expand(
            -1, DIM
        )

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return self.encode_pixels(np.stack([self.preprocessor(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self.encode_tokens(self.tokenise(texts))

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        return (torch.from_numpy(np.stack([expected(text) for text in texts])),)

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        return tokens[0]


def load_encoder(device: torch.device, precision: Precision, compile: bool) -> SleepingEncoder:
    del device, compile
    return SleepingEncoder(precision)


def load_preprocessor() -> SleepingPreprocessor:
    return SleepingPreprocessor()
