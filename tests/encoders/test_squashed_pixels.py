import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isoenergy.encoders.loading import load_preprocessor
from isoenergy.encoders.squashed_pixels import CONFIG_FILE, SquashedPixels
from isoenergy.storage.bundled_files import BUNDLED_ENCODER

SIZES = [(1, 1), (64, 64), (65, 64), (3, 500), (777, 2), (131, 97), (1000, 613)]


def changed(folder: Path, **settings: Any) -> Path:
    """The bundled encoder's folder, its preprocessing changed."""
    copy = folder / "encoder"
    shutil.copytree(BUNDLED_ENCODER, copy)
    config = json.loads((copy / CONFIG_FILE).read_text())
    config["preprocess_cfg"] |= settings
    (copy / CONFIG_FILE).write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_its_pixels_and_settings_are_those_of_open_clip_s_transform(tmp_path: Path, interpolation: str) -> None:
    from isoenergy.encoders import open_clip_encoder  # some seconds

    folder = changed(tmp_path, interpolation=interpolation)
    ours, whole = SquashedPixels.of_folder(folder), open_clip_encoder.load_preprocessor(str(folder), None)
    assert ours is not None
    assert (ours.shape, ours.describe()) == (whole.shape, whole.describe())
    assert json.dumps(ours.describe()) == json.dumps(whole.describe())
    random = np.random.default_rng(0)
    for width, height in SIZES:
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        np.testing.assert_array_equal(ours(image), whole(image))


@pytest.mark.parametrize(
    "settings", [{"resize_mode": "shortest"}, {"interpolation": "random"}, {"mean": 0.5}, {"mode": "L"}]
)
def test_what_open_clip_does_more_or_refuses_is_left_to_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert SquashedPixels.of_folder(changed(tmp_path, **settings)) is None


def test_a_folder_that_is_not_whole_is_left_to_open_clip(tmp_path: Path) -> None:
    folder = changed(tmp_path)
    (folder / CONFIG_FILE).write_text("{}")
    assert SquashedPixels.of_folder(folder) is None
    assert SquashedPixels.of_folder(tmp_path / "nowhere") is None


def test_the_bundled_encoder_s_is_one() -> None:
    assert isinstance(load_preprocessor("bundled"), SquashedPixels)
