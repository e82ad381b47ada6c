"""One raw pair to a key, a caption and an RGB image, or the reason why not. Every byte is untrusted."""

import io
import warnings

from PIL import Image, UnidentifiedImageError

from isoenergy.pairs.rejection import Reason, Rejected

MAX_CAPTION_BYTES = 2**16
MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 50_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")


def decode_key(raw: bytes | None) -> str:
    """Return the key as text.

    Raises Rejected if it is missing, empty or not UTF-8.
    """
    if not raw:
        raise Rejected(Reason.MISSING_KEY)
    return _utf8(raw, Reason.KEY_NOT_UTF8)


def decode_caption(raw: bytes | None) -> str:
    """Return the caption as text.

    Raises Rejected if it is missing, over 64 KiB, not UTF-8, or empty once white space is stripped.
    """
    if raw is None:
        raise Rejected(Reason.MISSING_CAPTION)
    if len(raw) > MAX_CAPTION_BYTES:
        raise Rejected(Reason.CAPTION_TOO_LONG, f"{len(raw):,} bytes, at most {MAX_CAPTION_BYTES:,} are read")
    caption = _utf8(raw, Reason.CAPTION_NOT_UTF8)
    if not caption.strip():
        raise Rejected(Reason.EMPTY_CAPTION)
    return caption


def decode_image(raw: bytes | None) -> Image.Image:
    """Return the image in RGB.

    Raises Rejected if it is missing, empty, over 64 MiB or 50 million pixels (checked before any pixel is decoded),
    cut short, or not a JPEG, PNG, WebP, GIF, BMP or TIFF that decodes.
    """
    if raw is None:
        raise Rejected(Reason.MISSING_IMAGE)
    if not raw:
        raise Rejected(Reason.EMPTY_IMAGE)
    if len(raw) > MAX_IMAGE_BYTES:
        raise Rejected(Reason.IMAGE_TOO_LARGE, f"{len(raw):,} bytes, at most {MAX_IMAGE_BYTES:,} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_IMAGE_PIXELS:
                    raise Rejected(
                        Reason.IMAGE_TOO_LARGE, f"{width} × {height} pixels, at most {MAX_IMAGE_PIXELS:,} are decoded"
                    )
                return image.convert("RGB")
    except Rejected:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected(Reason.IMAGE_TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        raise Rejected(_why_undecodable(raw, error), _describe(error)) from error


def _why_undecodable(raw: bytes, error: Exception) -> Reason:
    """Tell an image that ends early from bytes that never were one."""
    riff_is_short = raw[:4] == b"RIFF" and len(raw) < int.from_bytes(raw[4:8], "little") + 8
    says_short = any(word in str(error).lower() for word in ("truncated", "unexpected end", "not enough"))
    header_alone = isinstance(error, UnidentifiedImageError) and raw.startswith(_MAGIC)
    return Reason.TRUNCATED_IMAGE if riff_is_short or says_short or header_alone else Reason.UNREADABLE_IMAGE


def _describe(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text holds a memory address
        return f"not a readable {', '.join(_FORMATS)}"
    return f"{type(error).__name__}: {error}"


def _utf8(raw: bytes, otherwise: Reason) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(otherwise, f"byte {error.start} of {len(raw)} ({error.reason})") from error
