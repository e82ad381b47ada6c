"""JPEGs by libjpeg-turbo straight into an array: the pixels that Pillow makes of them, in half of its time.

Pillow opens every file first, so its bounds and its judgement of the header hold; and it decodes whatever is not plain,
or not without a fault, so that a file has the same pixels or the same rejection either way.
"""

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image
from PIL.ImageFile import ImageFile

from isoenergy.pairs.decoding import image_bytes, opened_image
from isoenergy.pairs.image_reading import as_rgb, turn_of
from isoenergy.settings.image_choices import AS_SEEN, ImageReading


def decode_picture(raw: bytes | None, reading: ImageReading = AS_SEEN) -> Image.Image | npt.NDArray[np.uint8]:
    """Return the pixels of `isoenergy.pairs.decoding.decode_image`: of a plain JPEG as a `(height, width, 3)` array.

    All else is Pillow's image. Raises Rejected as `decode_image` does.
    """
    content = image_bytes(raw)
    with opened_image(content) as image:
        pixels = _plain_jpeg(content, image, reading)
        return as_rgb(image, reading) if pixels is None else pixels


def _plain_jpeg(raw: bytes, opened: ImageFile, reading: ImageReading) -> npt.NDArray[np.uint8] | None:
    """Return a file's pixels, or None if Pillow is to decode it.

    Pillow's are: what is no JPEG, CMYK, several pictures in a file, a picture that is to be turned, and any file of
    which libjpeg-turbo has so much as a warning.
    """
    if opened.format != "JPEG" or opened.mode not in ("RGB", "L"):
        return None
    if reading.orientation == "upright" and turn_of(opened) is not None:
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(raw)
        return simplejpeg.decode_jpeg(raw, "RGB") if (width, height) == opened.size else None
    except ValueError:
        return None
