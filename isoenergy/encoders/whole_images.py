"""Images for models that take them in any size: shipped whole, for the model's own processor to resize and cut."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from isoenergy.encoders.dual_encoder import Pixels
from isoenergy.encoders.resizing import require_resizable
from isoenergy.pairs.rejection import Reason, Rejected

MOST_PIXELS = 1280 * 28 * 28
"""Of an image that is shipped; Qwen-VL makes a token of 28 × 28."""
_THIN = 8
_SMALL = 32
_SIZE = np.dtype("<u4")


class WholeImages:
    """An RGB image as it is, reduced if it has more than `MOST_PIXELS`, packed with its size before it."""

    shape = None

    def __init__(self, settings: dict[str, Any], process: Callable[[Image.Image], Any]) -> None:
        """settings: of the model's own processor; process: that, which is tried on images that it may not take."""
        self._settings, self._process = settings, process

    def __call__(self, image: Image.Image) -> Pixels:
        """Return one row of bytes; raises Rejected for an image that the processor does not take."""
        scale = math.sqrt(MOST_PIXELS / (image.width * image.height))
        if scale < 1:
            require_resizable(image.size, scale)
            image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
        if min(image.size) < _SMALL or max(image.size) > _THIN * min(image.size):
            try:
                self._process(image)
            except Exception as error:  # processors raise nearly anything on a shape that they do not take
                detail = f"{image.width} × {image.height} pixels are no shape that the model's processor takes: {error}"
                raise Rejected(Reason.UNUSABLE_ROW, detail) from error
        return packed(np.asarray(image))

    def describe(self) -> dict[str, Any]:
        """Return the processor's settings and the bound."""
        return {"library": "transformers", "most_pixels": MOST_PIXELS, **self._settings}


def packed(image: Pixels) -> Pixels:
    """Return `(height, width, 3)` pixels as one row of bytes that says its size."""
    return np.concatenate([np.array(image.shape[:2], _SIZE).view(np.uint8), image.reshape(-1)])


def gathered(rows: Sequence[Pixels], shape: tuple[int, int, int] | None) -> Pixels:
    """Return what a preprocessor of that `shape` has made of some images as an encoder takes it.

    Images of one size are `(n, height, width, 3)`; packed ones `(n,)`, each `(height, width, 3)`.
    """
    if shape is not None:
        return np.stack(rows)
    images = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        height, width = row[: 2 * _SIZE.itemsize].view(_SIZE)
        images[number] = row[2 * _SIZE.itemsize :].reshape(height, width, 3)
    return images
