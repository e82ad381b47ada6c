"""Small data in the formats of ImageNet, COCO and FashionIQ: pictures of one colour each, and texts about them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
LETTERS = "HIJKLMNOPQRSTUVWXYZ[\\]^_"
TEXTS = {"red": LETTERS[::3], "green": LETTERS[1::3], "blue": LETTERS[2::3], "white": LETTERS}
"""What tests.workflows.pixel_encoder puts where it puts a picture of the colour."""


def picture(colour: str, shade: int = 0) -> bytes:
    """A PNG of one colour; shade: 0 to 100, how much darker."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), tuple(max(0, part - shade) for part in COLOURS[colour])).save(buffer, "PNG")
    return buffer.getvalue()


def write(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def write_imagenet(folder: Path, images: int = 4, parts: Sequence[str] = ("train", "val")) -> Path:
    for part in parts:
        for number, colour in enumerate(COLOURS):
            for shade in range(images):
                write(folder / part / f"n0{number}" / f"{part}_{shade}.JPEG", picture(colour, 5 * shade))
    write(folder / "names.txt", "".join(f"n0{n} {text}, a colour\n" for n, text in enumerate(TEXTS.values())))
    return folder


def write_coco(folder: Path, images: int = 8) -> tuple[Path, Path]:
    """Two captions an image; returns the captions file and the folder of images."""
    names = list(COLOURS)
    listed, annotations = [], []
    for number in range(images):
        colour = names[number % len(names)]
        listed.append({"id": number, "file_name": f"{number:06d}.jpg"})
        write(folder / "images" / f"{number:06d}.jpg", picture(colour, 3 * number))
        annotations += [
            {"id": 10 * number + n, "image_id": number, "caption": TEXTS[colour] * (number + 1) + end}
            for n, end in enumerate(("", TEXTS[colour][0]))
        ]
    write(folder / "captions.json", json.dumps({"images": listed, "annotations": annotations}))
    return folder / "captions.json", folder / "images"


def write_fashioniq(folder: Path, others: Sequence[dict[str, Any]] = ()) -> Path:
    """Two categories of four clothes each; others: further entries of the dresses' captions."""
    for category in ("dress", "shirt"):
        asins = [f"B{category[0]}{colour}" for colour in COLOURS]
        entries = [
            {"candidate": a, "target": b, "captions": [TEXTS[b[2:]], 2 * TEXTS[b[2:]]]}
            for a in asins
            for b in asins
            if a != b
        ]
        for asin in asins:
            write(folder / "images" / f"{asin}.png", picture(asin[2:], 10 * (category == "dress")))
        write(folder / f"image_splits/split.{category}.val.json", json.dumps(asins))
        write(folder / f"captions/cap.{category}.val.json", json.dumps(entries + list(others) * (category == "dress")))
    return folder
