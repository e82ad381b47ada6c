"""What a file of a pair is: its first bytes say it, else its name. One list serves tars, folders and tables alike."""

import posixpath
from typing import Literal

Role = Literal["image", "caption", "json"]

HEAD_BYTES = 64
"""Of a file: enough for `image_kind`."""
OTHER_HEAD_BYTES = 1024
"""Of a file: as much as `other_kind` looks at."""
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".jp2", ".heic", ".heif", ".jxl", ".img", ".image"),
)
CAPTION_SUFFIXES = (".txt", ".text", ".caption")
_ROLES: dict[str, Role] = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(CAPTION_SUFFIXES, "caption"),
    ".json": "json",
}
_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
}
_LONGEST_MAGIC = 12
_OTHER_MAGIC = {
    b"%PDF-": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "a Photoshop file",
    b"\x00\x00\x01\x00": "an icon (ICO)",
    b"\x1f\x8b": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PK\x03\x04": "a zip",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x1a\x45\xdf\xa3": "a WebM or Matroska video",
    b"version https://git-lfs.github.com": "a Git LFS pointer: get the file itself with git lfs pull",
}
_MARKUP = {"<svg": "SVG, which has no pixels", "<html": "HTML, a page", "<!doctype html": "HTML, a page"}
_SHOWN = 40
_IN_TEXT = b"\t\n\r" + bytes(range(0x20, 0x7F))
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}


def image_kind(head: bytes) -> str | None:
    """Return which kind of image a file is by its first bytes, or None if it is none."""
    if _is_text(head):
        return None
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else None
    if head[:2] == b"BM":
        return "BMP" if head[6:10] == bytes(4) else None
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), _ftyp_bytes(head)), 4))}
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def other_kind(content: bytes) -> str | None:
    """Return what bytes are that are no image, in words, as far as their beginning says."""
    head = content[:OTHER_HEAD_BYTES]
    if not head:
        return "empty"
    if not head.strip(b"\x00"):
        return "zeros alone"
    if head[4:8] == b"ftyp":
        return f"a file of MPEG-4's family ({head[8:12].decode('ascii', 'replace')})"
    if known := next((kind for magic, kind in _OTHER_MAGIC.items() if head.startswith(magic)), None):
        return known
    text = head.decode("utf-8-sig", "ignore").strip()
    if text.startswith("<"):
        found = (kind for tag, kind in _MARKUP.items() if tag in text.lower())
        return next(found, f"markup that begins {text[:_SHOWN]!r}")
    return f"text that begins {text[:_SHOWN]!r}" if text and not head.translate(None, delete=_IN_TEXT) else None


def role_of(name: str) -> Role | None:
    """Return what a file is for by the last suffix of its name, in any case."""
    return _ROLES.get(posixpath.splitext(name)[1].lower())


def stem_of(name: str) -> str:
    """Return a name without its last suffixes that are a role's: `0.image.jpg` and `0.caption.txt` have one stem."""
    folder, base = posixpath.split(name)
    while (split := posixpath.splitext(base))[1].lower() in _ROLES:
        base = split[0]
    return posixpath.join(folder, base)


def _is_text(head: bytes) -> bool:
    """Return whether there is more than a magic number, and nothing in it that a line of text has not."""
    return len(head) > _LONGEST_MAGIC and not head.translate(None, delete=_IN_TEXT)


def _ftyp_bytes(head: bytes) -> int:
    return int.from_bytes(head[:4], "big")
