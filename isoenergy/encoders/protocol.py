"""What every dual encoder offers."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

Pixels = npt.NDArray[np.uint8]


class Preprocessor(Protocol):
    """The model's own image preprocessing up to bytes: cheap to ship, built without the weights."""

    shape: tuple[int, int, int]
    """`(height, width, 3)` of its output."""

    def __call__(self, image: Image.Image) -> Pixels:
        """Return `(height, width, 3)` uint8 pixels of the model's input size."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the settings, as JSON values, that make two preprocessors the same."""
        ...


class DualEncoder(Protocol):
    """An image tower and a text tower with outputs in one space; raw, not normalised, float32."""

    name: str
    """Loads it again, in whatever working directory."""
    dim: int
    digest: str
    """SHA-256 of the weights."""

    @property
    def preprocessor(self) -> Preprocessor:
        """The image tower's preprocessing."""
        ...

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        """Encode `(n, height, width, 3)` preprocessed images as `(n, dim)` float32 rows on the CPU."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Preprocess and encode images as `(n, dim)` float32 rows on the CPU."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as `(n, dim)` float32 rows on the CPU."""
        ...
