from pathlib import Path

import numpy as np
import pytest

from isoenergy.encoders import cosine_to_float32, load_encoder, load_preprocessor
from isoenergy.errors import InputError

MODULE = """
import numpy as np
import torch


class Preprocessor:
    shape = (2, 2, 3)

    def __call__(self, image):
        return np.asarray(image.resize((2, 2)))

    def describe(self):
        return {{"mine": 1}}


class Encoder:
    dim, digest = 12, "0" * 64

    def __init__(self, precision):
        self.name, self.precision, self.preprocessor = {name!r}, precision, Preprocessor()

    def encode_pixels(self, pixels):
        return torch.from_numpy(pixels.reshape(-1, 12)).float()

    def encode_images(self, images):
        return self.encode_pixels(np.stack([self.preprocessor(image) for image in images]))

    def {encode_texts}(self, texts):
        return self.encode_tokens(self.tokenise(texts))

    def tokenise(self, texts):
        return (torch.ones(len(texts), 12),)

    def encode_tokens(self, tokens):
        return tokens[0]


def load_encoder(device, precision, compile):
    return Encoder(precision)


def {load_preprocessor}():
    return Preprocessor()
"""
WHOLE = {"encode_texts": "encode_texts", "load_preprocessor": "load_preprocessor"}


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_module_of_the_user_s_own_is_an_encoder(on_the_path: Path) -> None:
    (on_the_path / "user_whole.py").write_text(MODULE.format(name="python:user_whole", **WHOLE))
    encoder = load_encoder("python:user_whole", precision="bfloat16")
    assert (encoder.name, encoder.dim, encoder.precision) == ("python:user_whole", 12, "bfloat16")
    assert load_preprocessor("python:user_whole").describe() == encoder.preprocessor.describe()
    with pytest.raises(InputError, match="has no in_float32"):
        cosine_to_float32(encoder, np.zeros((1, 2, 2, 3), np.uint8), encoder.tokenise(["a"]))


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("user_absent", None, "cannot be imported .*No module named 'user_absent'.*PYTHONPATH"),
        ("user_broken", "raise RuntimeError('out of luck')", "cannot be imported .*out of luck"),
        ("user_empty", "", "has no function load_encoder"),
        (
            "user_half",
            MODULE.format(name="python:user_half", **WHOLE | {"load_preprocessor": "preprocessor"}),
            "has no function load_preprocessor",
        ),
        (
            "user_mute",
            MODULE.format(name="python:user_mute", **WHOLE | {"encode_texts": "texts"}),
            "returned a Encoder, which is no DualEncoder",
        ),
        ("user_other", MODULE.format(name="python:other", **WHOLE), "must be named 'python:user_other'"),
    ],
)
def test_a_module_that_is_none_is_an_error(on_the_path: Path, module: str, source: str | None, message: str) -> None:
    if source is not None:
        (on_the_path / f"{module}.py").write_text(source)
    with pytest.raises(InputError, match=message):
        load_encoder(f"python:{module}")
