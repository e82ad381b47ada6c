import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import save_file

from isoenergy.bundled import BUNDLED_PAIRS

os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token the home directory holds

_LONG = ("ray", "server")

RowsWriter = Callable[[list[dict], Path], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: of several processes, none is left with one of them at the end."""
    long = {item.path for item in items if any(item.get_closest_marker(name) for name in _LONG)}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def tracking_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db")
        yield


@pytest.fixture(scope="session")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised CLIP in open_clip's folder format."""
    folder = tmp_path_factory.mktemp("other-encoder")
    model = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocess = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    save_file(open_clip.model.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def bundled_rows() -> list[dict]:
    """The rows of one bundled shard."""
    return pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet"))[0]).to_pylist()


@pytest.fixture
def write_rows() -> RowsWriter:
    return written_rows


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
