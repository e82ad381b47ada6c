"""Pairs that are made up: good ones, and one for each way in which a pair can be bad."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RowsWriter = Callable[[list[dict], Path], Path]


def written_rows(rows: list[dict], file: Path) -> Path:
    """Write `key`, `image` and `caption` as raw bytes, as a hostile source may hold them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = {name: [_raw(row[name]) for row in rows] for name in ("key", "image", "caption")}
    table = pa.table({name: pa.array(values, pa.binary()) for name, values in raw.items()})
    pq.write_table(table, file, row_group_size=7)
    return file


def _raw(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def encoded_image(kind: str = "PNG", size: tuple[int, int] = (40, 30), seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def decompression_bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


def bad_rows() -> dict[str, dict]:
    """A row for each way in which a pair can be bad, by the reason that it must get; `good` is the one kept."""
    image = encoded_image()
    return {
        "good": {"key": "good", "image": image, "caption": "a good pair"},
        "truncated_image": {"key": "truncated", "image": image[: len(image) // 2], "caption": "cut short"},
        "empty_image": {"key": "zero-byte", "image": b"", "caption": "no bytes"},
        "image_too_large": {"key": "bomb", "image": decompression_bomb(), "caption": "a bomb"},
        "unreadable_image": {"key": "not-an-image", "image": b"<html>not found</html>", "caption": "a page"},
        "missing_image": {"key": "no-image", "image": None, "caption": "no image"},
        "missing_caption": {"key": "no-caption", "image": image, "caption": None},
        "empty_caption": {"key": "empty-caption", "image": image, "caption": " \n"},
        "caption_not_utf8": {"key": "latin-1", "image": image, "caption": "café".encode("latin-1")},
        "missing_key": {"key": None, "image": image, "caption": "no key"},
        "key_not_utf8": {"key": b"\xff\xfe", "image": image, "caption": "a broken key"},
        "duplicate_key": {"key": "good", "image": image, "caption": "the same key again"},
    }
