import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from tests.conftest import encoded_image


@pytest.fixture
def images() -> list[Image.Image]:
    return [decode_image(encoded_image(size=size, seed=n)) for n, size in enumerate([(40, 30), (32, 32), (17, 90)])]


def test_preprocessing_and_encoding_are_open_clip_s_own(other_encoder: Path, images: list[Image.Image]) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{other_encoder}")
    encoder = load_encoder(f"open_clip:{other_encoder}")
    expected = torch.stack([preprocess(image) for image in images])
    pixels = torch.stack([torch.from_numpy(encoder.preprocessor(image).copy()) for image in images])
    torch.testing.assert_close(encoder.preprocessor.normalise(pixels), expected, atol=1e-6, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode_images(images), model.eval().encode_image(expected))


def test_texts_and_sizes(other_encoder: Path) -> None:
    encoder = load_encoder(f"open_clip:{other_encoder}")
    assert encoder.encode_texts(["a", "a " * 500, ""]).shape == (3, encoder.dim)
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)
    assert encoder.encode_texts(["x"]).dtype == torch.float32


def test_unusable_encoders_are_named(tmp_path: Path, other_encoder: Path) -> None:
    with pytest.raises(InputError, match="unknown encoder 'clip-9'; expected bundled"):
        load_encoder("clip-9")
    with pytest.raises(InputError, match="has no open_clip_config"):
        load_preprocessor(f"open_clip:{tmp_path}")
    shutil.copytree(other_encoder, tmp_path / "broken")
    config = json.loads((tmp_path / "broken" / "open_clip_config.json").read_text())
    config["model_cfg"]["embed_dim"] = 99
    (tmp_path / "broken" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not a usable open_clip model"):
        load_encoder(f"open_clip:{tmp_path / 'broken'}")
