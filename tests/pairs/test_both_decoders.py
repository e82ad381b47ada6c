"""Whatever an image is, both decoders make the same pixels of it, or reject it in the same words."""

import io
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from isoenergy.pairs.bounds import MAX_IMAGE_PIXELS
from isoenergy.pairs.fast_decoding import decode_picture
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import ImageReading
from tests.pairs import pillow_suite

SIZE = (61, 43)
START_OF_SCAN, END = b"\xff\xda", b"\xff\xd9"


def drawn(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A smooth picture: what a JPEG is for."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").resize(SIZE, Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


def of_size(raw: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    frame = raw.index(b"\xff\xc0") + 5
    return raw[:frame] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + raw[frame + 4 :]


PLAIN = saved(drawn())
PROGRESSIVE = saved(drawn(), progressive=True)
KINDS: dict[str, tuple[bytes, bool]] = {
    "plain": (PLAIN, True),
    "grey": (saved(drawn("L")), True),
    "not subsampled": (saved(drawn(), subsampling=0), True),
    "subsampled in one direction": (saved(drawn(), subsampling=1), True),
    "with restart markers": (saved(drawn(), restart_marker_blocks=2), True),
    "of low quality": (saved(drawn(), quality=3), True),
    "RGB inside": (saved(drawn(), keep_rgb=True), True),
    "bytes behind its end": (PLAIN + b"junk" * 99, True),
    "upright by EXIF": (saved(drawn(), exif=exif(1)), True),
    "progressive": (PROGRESSIVE, True),
    "progressive without its last scan": (PROGRESSIVE[: PROGRESSIVE.rindex(START_OF_SCAN)] + END, True),
    "progressive with one scan": (PROGRESSIVE[: PROGRESSIVE.index(START_OF_SCAN, 700)] + END, True),
    "to be turned": (saved(drawn(), exif=exif(6)), False),
    "CMYK": (saved(drawn("CMYK")), False),
    "several pictures": (saved(drawn(), "MPO", save_all=True, append_images=[drawn(seed=1)]), False),
    "cut": (PLAIN[:-100], False),
    "cut in its header": (PLAIN[:100], False),
    "without its end": (PLAIN[:-2], False),
    "garbage inside": (PLAIN[:-60] + b"\xff\x00\x13" * 10 + PLAIN[-30:], False),
    "lower than its rows": (of_size(PLAIN, 61, 10), False),
    "higher than its rows": (of_size(PLAIN, 61, 4300), False),
    "two headers": (PLAIN[:2] + of_size(PLAIN, 9, 9)[2:-2].split(START_OF_SCAN)[0] + PLAIN[2:], False),
    "palette": (saved(drawn("P"), "PNG"), False),
    "alpha": (saved(drawn("RGBA"), "PNG"), False),
    "16 bits": (saved(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)), "PNG"), False),
    "WebP": (saved(drawn(), "WEBP"), False),
    "no image": (b"\xff\xd8\xff and nothing more", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_both_decoders_agree(kind: str) -> None:
    raw, without_pillow = KINDS[kind]
    assert pillow_suite.agree(raw)
    assert pillow_suite.verdict(raw, decode_picture)[1] == without_pillow


def test_a_picture_that_is_not_to_be_turned_needs_no_pillow() -> None:
    picture = decode_picture(KINDS["to be turned"][0], ImageReading(orientation="as-stored"))
    assert isinstance(picture, np.ndarray)
    assert picture.shape == (43, 61, 3)


@pytest.mark.parametrize("kind", ["plain", "progressive", "with restart markers", "grey"])
def test_both_decoders_agree_on_spoilt_files(kind: str) -> None:
    """Bytes changed and bytes missing: the first break pixels, headers or nothing, the second reject."""
    draw = random.Random(0)
    whole, _ = KINDS[kind]

    def changed(most: int) -> bytes:
        spoilt = bytearray(whole)
        for _ in range(draw.choice((1, 2, 5))):
            spoilt[draw.randrange(2, most)] = draw.randrange(256)
        return bytes(spoilt)

    spoils: list[Callable[[], bytes]] = [
        lambda: whole[: draw.randrange(len(whole))],
        lambda: changed(len(whole)),
        lambda: changed(650),
    ]
    for spoil in spoils:
        for _ in range(40):
            assert pillow_suite.agree(spoil())


def test_what_a_header_says_is_judged_before_anything_is_allocated() -> None:
    bomb = of_size(PLAIN, 65_000, 65_000)
    just_too_large = of_size(PLAIN, MAX_IMAGE_PIXELS // 1000 + 1, 1000)
    tracemalloc.start()
    try:
        for raw in (bomb, just_too_large):
            with pytest.raises(Rejected) as caught:
                decode_picture(raw)
            assert caught.value.reason is Reason.IMAGE_TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_both_decoders_agree_on_every_image_of_pillow_s_own_tests(tmp_path: Path) -> None:
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pillow"]
    fetch += ["--dest", str(tmp_path), f"pillow=={version('pillow')}"]
    if subprocess.run(fetch, check=False, capture_output=True, timeout=240).returncode:
        pytest.skip("Pillow's source distribution cannot be had here")
    (sdist,) = tmp_path.iterdir()
    kinds = pillow_suite.compare(sdist)
    assert {name: kind.differing for name, kind in kinds.items() if kind.differing} == {}
    assert kinds["JPEG"].arrays > 30
    assert sum(kind.files for kind in kinds.values()) > 900
