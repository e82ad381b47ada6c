"""From an image's bytes to the pixels that encoders take."""

from collections.abc import Callable, Collection

import numpy as np
from PIL import Image

from isoenergy.encoders.dual_encoder import Pixels, Preprocessor
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.fast_decoding import decode_picture
from isoenergy.settings.image_choices import ImageReading


def preprocessed(raw: bytes | None, preprocessors: Collection[Preprocessor], reading: ImageReading) -> list[Pixels]:
    """Decode an image once and preprocess it for each encoder, by the decoder that `reading` names.

    Returns `(height, width, 3)` uint8 of each preprocessor's size. With `exact` they are its own; with `fast` next to
    them of a `FastPreprocessor`, and its own of any other.
    Raises Rejected if the image cannot be decoded or resized, for the same images with either decoder.
    """
    fast: list[Callable[[Pixels], Pixels] | None] = [getattr(each, "fast", None) for each in preprocessors]
    if reading.decoder == "exact" or not any(fast):
        image = decode_image(raw, reading)
        return [preprocess(image) for preprocess in preprocessors]
    picture = decode_picture(raw, reading)
    return [
        preprocess(picture if isinstance(picture, Image.Image) else Image.fromarray(picture))
        if of_pixels is None
        else of_pixels(np.array(picture) if isinstance(picture, Image.Image) else picture)
        for preprocess, of_pixels in zip(preprocessors, fast, strict=True)
    ]
