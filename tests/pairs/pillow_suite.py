"""Both decoders on every image of Pillow's own tests, which are hostile where it was once hurt.

`python -m tests.pairs.pillow_suite SDIST` prints the table of docs/embedding.md; the source distribution comes from
`pip download --no-deps --no-binary pillow pillow==VERSION`.
"""

import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.fast_decoding import decode_picture
from isoenergy.pairs.kinds import HEAD_BYTES, image_kind
from isoenergy.pairs.rejection import Rejected

_IMAGES = "/Tests/images/"


@dataclass
class Kind:
    """What became of the files that begin as one kind of image."""

    files: int = 0
    arrays: int = 0
    """Decoded without Pillow."""
    same_pixels: int = 0
    same_rejections: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    """Files with other pixels, or another rejection, by the fast decoder."""


def verdict(raw: bytes, decode: Callable[[bytes], Image.Image | np.ndarray]) -> tuple[np.ndarray | str, bool]:
    """Return a file's pixels, or why it is rejected, and whether they came without Pillow."""
    try:
        picture = decode(raw)
    except Rejected as rejected:
        return str(rejected), False
    return np.asarray(picture), isinstance(picture, np.ndarray)


def agree(raw: bytes) -> bool:
    """Return whether both decoders make the same pixels of a file, or reject it in the same words."""
    (exact, _), (fast, _) = verdict(raw, decode_image), verdict(raw, decode_picture)
    return _same(exact, fast)


def images(sdist: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file beside Pillow's tests."""
    with tarfile.open(sdist) as archive:
        for member in archive:
            if member.isfile() and _IMAGES in member.name:
                content = archive.extractfile(member)
                assert content is not None
                yield member.name.split(_IMAGES)[1], content.read()


def compare(sdist: Path) -> dict[str, Kind]:
    """Decode every file both ways."""
    kinds: dict[str, Kind] = {}
    for name, raw in images(sdist):
        kind = kinds.setdefault(image_kind(raw[:HEAD_BYTES]) or "anything else", Kind())
        (exact, _), (fast, without_pillow) = verdict(raw, decode_image), verdict(raw, decode_picture)
        kind.files += 1
        kind.arrays += without_pillow
        if not _same(exact, fast):
            kind.differing.append(name)
        elif isinstance(exact, str):
            kind.same_rejections += 1
            kind.reasons[exact.split(":")[0]] += 1
        else:
            kind.same_pixels += 1
    return kinds


def table(kinds: dict[str, Kind]) -> str:
    """Return the comparison in Markdown, the most frequent kind first."""
    lines = ["| files that begin as | | decoded, same pixels | without Pillow | rejected, same words | different |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, kind in sorted(kinds.items(), key=lambda item: -item[1].files):
        reasons = ", ".join(f"{count} `{reason}`" for reason, count in sorted(kind.reasons.items())) or "0"
        lines += [f"| {name} | {kind.files} | {kind.same_pixels} | {kind.arrays} | {reasons} | {len(kind.differing)} |"]
    return "\n".join(lines)


def _same(exact: np.ndarray | str, fast: np.ndarray | str) -> bool:
    if isinstance(exact, str) or isinstance(fast, str):
        return isinstance(exact, str) and isinstance(fast, str) and exact == fast
    return np.array_equal(exact, fast)


if __name__ == "__main__":
    compared = compare(Path(sys.argv[1]))
    print(table(compared))
    print({name: kind.differing for name, kind in compared.items() if kind.differing})
