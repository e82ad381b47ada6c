"""Images that stand in the text of a table themselves, in base64."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from isoenergy.pairs.bounds import MAX_IMAGE_BYTES
from isoenergy.pairs.kinds import HEAD_BYTES, image_kind
from isoenergy.pairs.rejection import Reason, Rejected

LONGEST_TEXT = MAX_IMAGE_BYTES // 3 * 4 + 1024
LOOKED_AT = 320
"""Of a text: enough for `is_inline`."""
_DATA_URL = re.compile(r"data:([^,]{0,256}),", re.IGNORECASE)
_HEAD_LETTERS = HEAD_BYTES // 3 * 4
_URL_SAFE = str.maketrans("-_", "+/")
_AS_PYTHON_PRINTS_BYTES = re.compile(r"""b(['"])(.*)\1""", re.DOTALL)


def is_inline(text: str) -> bool:
    """Return whether a text is an image in base64, or a data URL of anything: what it holds is told by its bytes."""
    start = text[:LOOKED_AT].strip()
    if _DATA_URL.match(start):
        return True
    start = start[2:] if start[:2] in ("b'", 'b"') else start
    try:
        head = base64.b64decode("".join(start.split())[:_HEAD_LETTERS].translate(_URL_SAFE) + "==", validate=True)
    except (ValueError, binascii.Error):
        return False
    return image_kind(head) is not None


def decoded(text: str) -> bytes | Rejected:
    """Return the bytes of an image for which `is_inline` holds; line ends within base64 are passed over."""
    if len(text) > LONGEST_TEXT:
        return Rejected(Reason.IMAGE_TOO_LARGE, f"{len(text):,} letters of base64, at most {LONGEST_TEXT:,} are read")
    text = text.strip()
    if url := _DATA_URL.match(text):
        text = text[url.end() :]
        if not url[1].lower().rstrip().endswith("base64"):
            return unquote_to_bytes(text)
    elif printed := _AS_PYTHON_PRINTS_BYTES.fullmatch(text):
        text = printed[2]
    plain = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error) as error:
        return Rejected(Reason.UNREADABLE_IMAGE, f"it is no base64 ({error})")
