"""One raw pair to a key, a caption and an RGB image, or the reason why not. Every byte is untrusted."""

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from isoenergy.pairs.bounds import MAX_CAPTION_BYTES, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from isoenergy.pairs.image_reading import as_rgb
from isoenergy.pairs.jpeg_xl import jpeg_xl_size
from isoenergy.pairs.kinds import HEAD_BYTES, image_kind, other_kind
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import AS_SEEN, ImageReading

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")
_JPEG_2000_END = b"\xff\xd9"
_PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Modules that decode what Pillow alone does not, and the packages that they come in."""


def decode_key(raw: bytes | None) -> str:
    """Return the key as text.

    Raises Rejected if it is missing, empty or not UTF-8.
    """
    if not raw:
        raise Rejected(Reason.MISSING_KEY, "there is none, or it is neither text nor an integer")
    return _utf8(raw, Reason.KEY_NOT_UTF8)


def decode_caption(raw: bytes | None) -> str:
    """Return the caption as text, without a byte order mark before it.

    Raises Rejected if it is missing, over 64 KiB, not UTF-8, or empty once white space is stripped.
    """
    if raw is None:
        raise Rejected(Reason.MISSING_CAPTION, "there is none, or it is no text")
    if len(raw) > MAX_CAPTION_BYTES:
        raise Rejected(Reason.CAPTION_TOO_LONG, f"{len(raw):,} bytes, at most {MAX_CAPTION_BYTES:,} are read")
    caption = _utf8(raw, Reason.CAPTION_NOT_UTF8).removeprefix("\ufeff")
    if not caption.strip():
        raise Rejected(Reason.EMPTY_CAPTION)
    return caption


def decode_image(raw: bytes | None, reading: ImageReading = AS_SEEN) -> Image.Image:
    """Return the image in RGB, decoded by Pillow and read as `reading` says.

    Raises Rejected if it is missing, empty, over 64 MiB or 50 million pixels (checked before any pixel is decoded),
    cut short, of grey values that `reading` rejects, or not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or JPEG 2000 that
    decodes; HEIC and JPEG XL are decoded where pillow-heif and pillow-jxl-plugin are installed.
    """
    with opened_image(image_bytes(raw)) as image:
        return as_rgb(image, reading)


def image_bytes(raw: bytes | None) -> bytes:
    """Return an image's bytes; raises Rejected if they are missing, none, or more than 64 MiB."""
    if raw is None:
        raise Rejected(Reason.MISSING_IMAGE)
    if not raw:
        raise Rejected(Reason.EMPTY_IMAGE)
    if len(raw) > MAX_IMAGE_BYTES:
        raise Rejected(Reason.IMAGE_TOO_LARGE, f"{len(raw):,} bytes, at most {MAX_IMAGE_BYTES:,} are read")
    return raw


@contextmanager
def opened_image(raw: bytes) -> Iterator[ImageFile]:
    """Yield an image of at most 50 million pixels, not decoded yet.

    Raises Rejected if it cannot be opened, and for whatever the caller's decoding raises.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw), formats=_formats_for(raw)) as image:
                width, height = image.size
                _require_few_pixels(width, height)
                yield image
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        what = f"it claims more pixels than Pillow opens, at most {MAX_IMAGE_PIXELS:,} are decoded"
        raise Rejected(Reason.IMAGE_TOO_LARGE, what) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise Rejected(_why_undecodable(raw, error), _describe(raw, error)) from error


def _formats_for(raw: bytes) -> tuple[str, ...]:
    """Return what may be tried, with the decoder of a kind that needs one more; raises Rejected if it is not there."""
    kind = image_kind(raw[:HEAD_BYTES])
    if kind not in _PLUGINS:
        return _FORMATS
    module, package = _PLUGINS[kind]
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        what = f"it is {kind}, which is decoded where the package {package} is installed"
        raise Rejected(Reason.UNREADABLE_IMAGE, what) from error
    if kind == "JPEG XL":
        width, height = jpeg_xl_size(raw)  # the plugin decodes what it opens
        _require_few_pixels(width, height)
        return ("JXL",)
    plugin.register_heif_opener()
    return ("HEIF",)


def _require_few_pixels(width: int, height: int) -> None:
    if width * height > MAX_IMAGE_PIXELS:
        what = f"{width} × {height} pixels, at most {MAX_IMAGE_PIXELS:,} are decoded"
        raise Rejected(Reason.IMAGE_TOO_LARGE, what)


def _why_undecodable(raw: bytes, error: Exception) -> Reason:
    """Tell an image that ends early from bytes that never were one."""
    kind = image_kind(raw[:HEAD_BYTES])
    riff_is_short = kind == "WebP" and len(raw) < int.from_bytes(raw[4:8], "little") + 8
    has_no_end = kind == "JPEG 2000" and not raw.endswith(_JPEG_2000_END)
    says_short = any(word in str(error).lower() for word in ("truncated", "unexpected end", "not enough"))
    header_alone = isinstance(error, UnidentifiedImageError) and kind is not None
    is_short = riff_is_short or has_no_end or says_short or header_alone
    return Reason.TRUNCATED_IMAGE if is_short else Reason.UNREADABLE_IMAGE


def _describe(raw: bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        if kind := image_kind(raw[:HEAD_BYTES]):
            return f"it begins as {kind}, and cannot be read as that"
        what = other_kind(raw)
        return f"it is {what}" if what else f"not a readable {', '.join(_FORMATS)}"
    return f"{type(error).__name__}: {error}"


def _utf8(raw: bytes, otherwise: Reason) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(otherwise, f"byte {error.start} of {len(raw)} ({error.reason})") from error
