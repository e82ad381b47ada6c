"""Images that stand in the text of a table themselves, in base64."""

import base64
import binascii
import re

from isoenergy.pairs.decoding import MAX_IMAGE_BYTES
from isoenergy.pairs.kinds import HEAD_BYTES, image_kind
from isoenergy.pairs.rejection import Reason, Rejected

LONGEST_TEXT = MAX_IMAGE_BYTES // 3 * 4 + 1024
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_HEAD_LETTERS = HEAD_BYTES // 3 * 4
_URL_SAFE = str.maketrans("-_", "+/")


def is_inline(text: str) -> bool:
    """Return whether a text is an image in base64: a data URL, or what begins as an image does."""
    if _DATA_URL.match(text):
        return True
    try:
        head = base64.b64decode(text[:_HEAD_LETTERS].translate(_URL_SAFE) + "==", validate=True)
    except (ValueError, binascii.Error):
        return False
    return image_kind(head) is not None


def decoded(text: str) -> bytes | Rejected:
    """Return the bytes of an image for which `is_inline` holds."""
    if len(text) > LONGEST_TEXT:
        return Rejected(Reason.IMAGE_TOO_LARGE, f"{len(text):,} letters of base64, at most {LONGEST_TEXT:,} are read")
    plain = "".join(_DATA_URL.sub("", text, count=1).split()).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        return Rejected(Reason.UNREADABLE_IMAGE, f"it is no base64 ({error})")
