"""How an image file becomes the RGB picture that a person sees: its orientation, transparency and range of values."""

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import ImageReading, Transparency, WideRange

_UNSIGNED, _WHITE_IS_ZERO = 1, 0
_WIDE = {"I": "integers of 32 bits or with a sign", "F": "floating-point numbers"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings each EXIF orientation upright."""


def as_rgb(image: ImageFile, reading: ImageReading) -> Image.Image:
    """Return an image, as it was opened, in RGB.

    Raises Rejected if its grey values have a wide range and `reading` says so, and whatever decoding raises.
    """
    raw_mode = image.tile[0].args if image.format == "PNG" and image.tile else None
    image.load()
    has_alpha = image.has_transparency_data and reading.transparent != "as-stored"
    narrow: Image.Image = image
    if image.mode.startswith(("I", "F")) and reading.wide_range != "clip":
        narrow = _in_8_bits(image, reading.wide_range)
    elif has_alpha:
        _scale_transparent_colour(image, raw_mode)
    if narrow.mode == "La":  # which Pillow converts to nothing else
        narrow = narrow.convert("LA")
    rgb = _laid_on(narrow, reading.transparent) if has_alpha else narrow.convert("RGB")
    return _turned(rgb, image) if reading.orientation == "upright" else rgb


def _in_8_bits(image: ImageFile, wide_range: WideRange) -> Image.Image:
    """Return grey values of more bits in 8: L, or LA if one value is transparent."""
    bits = _bits(image)
    if bits is None and wide_range == "reject":
        raise Rejected(
            Reason.WIDE_RANGE,
            f"its grey values are {_WIDE[image.mode]}; --wide-range stretch takes each such image from its own least "
            f"to its own largest value",
        )
    values = np.asarray(image)
    if bits is not None:
        most = 2**bits - 1
        grey = ((np.arange(2**16) * 255 + most // 2) // most).clip(max=255).astype(np.uint8)[values]
    else:
        # Pillow has no mode for unsigned ones of 32 bits.
        grey = _stretched(values.view(np.uint32) if image.mode == "I" and _is_unsigned(image) else values)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        grey = 255 - grey
    narrow = Image.fromarray(grey)
    if (transparent := image.info.get("transparency")) is not None:
        narrow.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return narrow


def _bits(image: ImageFile) -> int | None:
    """Return how many bits a grey value has; None if more than 16, a sign or a fraction."""
    if isinstance(image, TiffImageFile):  # of which the same mode holds 12 and 16
        bits = int(image.tag_v2[BITSPERSAMPLE][0])
        return bits if _is_unsigned(image) and bits <= 16 else None
    return 16 if image.mode.startswith("I;16") or image.format == "PNG" else None


def _is_unsigned(image: ImageFile) -> bool:
    return isinstance(image, TiffImageFile) and image.tag_v2.get(SAMPLEFORMAT, (_UNSIGNED,))[0] == _UNSIGNED


def _stretched(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Return `(height, width)` values from the least finite one, 0, to the largest, 255; what is no number is 0."""
    wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    least, largest = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    wide -= least
    wide *= 255 / (largest - least) if largest > least else 0.0
    np.nan_to_num(wide, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.rint(wide, out=wide).astype(np.uint8)


def _scale_transparent_colour(image: Image.Image, raw_mode: object) -> None:
    """Bring a PNG's transparent colour to 8 bits, as Pillow has brought its pixels."""
    colour = image.info.get("transparency")
    if raw_mode in ("L;2", "L;4") and isinstance(colour, int):
        most = 3 if raw_mode == "L;2" else 15
        image.info["transparency"] = (colour & most) * (255 // most)
    elif raw_mode == "RGB;16B" and isinstance(colour, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _laid_on(image: Image.Image, background: Transparency) -> Image.Image:
    picture = image.convert("RGBA")
    rgb = Image.new("RGB", image.size, background)
    rgb.paste(picture, mask=picture)
    return rgb


def turn_of(opened: Image.Image) -> Image.Transpose | None:
    """Return what brings an opened file upright, as it says itself; what cannot be read there says nothing."""
    try:
        return _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's reader of EXIF raises nearly anything, and the picture is there
        return None


def _turned(rgb: Image.Image, opened: Image.Image) -> Image.Image:
    turn = turn_of(opened)
    if turn is not None:
        rgb = rgb.transpose(turn)
    rgb.info = {}  # so that nobody turns it again
    return rgb
