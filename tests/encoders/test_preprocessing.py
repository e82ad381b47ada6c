import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, CLIPConfig, CLIPImageProcessor, SiglipConfig, SiglipImageProcessor

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.encoders.dual_encoder import FastPreprocessor
from isoenergy.encoders.torch_encoder import SplitPreprocessor
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.storage.bundled_files import BUNDLED_ENCODER

SIZES = [(1, 1), (1, 500), (37, 1000), (640, 480), (224, 224)]


def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """An image as the pipeline decodes it, smooth and noisy by parts."""
    noise = np.random.default_rng(sum(size)).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return decode_image(buffer.getvalue())


def transformers_folder(folder: Path, processor: CLIPImageProcessor | SiglipImageProcessor) -> str:
    """Write what a preprocessor needs: no weights."""
    (CLIPConfig() if isinstance(processor, CLIPImageProcessor) else SiglipConfig()).save_pretrained(folder)
    processor.save_pretrained(folder)
    return f"hf:{folder}"


def open_clip_folder(folder: Path, size: int | list[int] = 224, **preprocess: Any) -> str:
    settings = {"model_cfg": {"vision_cfg": {"image_size": size}, "text_cfg": {}}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    (folder / "open_clip_model.safetensors").touch()
    return f"open_clip:{folder}"


def transformers_own(name: str) -> Callable[[Image.Image], Tensor]:
    processor = AutoImageProcessor.from_pretrained(name.removeprefix("hf:"))
    return lambda image: processor(image, return_tensors="pt")["pixel_values"]


def open_clip_own(name: str) -> Callable[[Image.Image], Tensor]:
    from open_clip.transform import PreprocessCfg, image_transform_v2  # some seconds

    settings = json.loads((Path(name.removeprefix("open_clip:")) / "open_clip_config.json").read_text())
    config = PreprocessCfg(**settings["preprocess_cfg"] | {"size": settings["model_cfg"]["vision_cfg"]["image_size"]})
    transform = image_transform_v2(config, is_train=False)
    return lambda image: transform(image)[None]


MODELS = {
    "clip": lambda folder: transformers_folder(folder, CLIPImageProcessor()),
    "siglip": lambda folder: transformers_folder(folder, SiglipImageProcessor()),
    "siglip2": lambda folder: transformers_folder(folder, SiglipImageProcessor(resample=2)),
    "open_clip": open_clip_folder,
    "open_clip_squash": lambda folder: open_clip_folder(folder, resize_mode="squash", mean=[0.5] * 3, std=[0.5] * 3),
    "open_clip_longest": lambda folder: open_clip_folder(folder, [96, 64], resize_mode="longest", fill_color=7),
    "open_clip_oblong": lambda folder: open_clip_folder(folder, [96, 64], interpolation="bilinear"),
}


@pytest.mark.parametrize("model", MODELS)
def test_both_halves_are_the_model_s_own_preprocessing(model: str, tmp_path: Path) -> None:
    name = MODELS[model](tmp_path)
    preprocessor, whole = load_preprocessor(name), (open_clip_own if "open" in model else transformers_own)(name)
    images = [photo(size) for size in SIZES] + [photo((50, 40), mode) for mode in ("P", "L", "1", "RGBA")]
    for image in images:
        if model == "open_clip_longest" and image.size in ((1, 500), (37, 1000)):
            continue
        pixels = preprocessor(image)
        assert pixels.dtype == np.uint8
        assert pixels.shape == preprocessor.shape
        torch.testing.assert_close(_normalised(preprocessor, pixels), whole(image), atol=1e-6, rtol=0)
    assert (
        preprocessor.describe() == load_preprocessor(name).describe() == json.loads(json.dumps(preprocessor.describe()))
    )


@pytest.mark.parametrize("model", MODELS)
def test_pixels_by_torch_are_the_model_s_own_or_next_to_them(model: str, tmp_path: Path) -> None:
    preprocessor = load_preprocessor(MODELS[model](tmp_path))
    assert isinstance(preprocessor, FastPreprocessor)
    for image in [photo(size) for size in SIZES if model != "open_clip_longest" or size not in ((1, 500), (37, 1000))]:
        own, fast = preprocessor(image), preprocessor.fast(np.array(image))
        assert (fast.dtype, fast.shape) == (np.uint8, preprocessor.shape)
        away = np.abs(own.astype(int) - fast)
        assert away.max() <= (2 if "open" in model else 0)
        assert (away > 1).mean() <= 1e-3
        if image.size == (640, 480):
            assert away.max() <= 1
            assert away.mean() <= 0.01


@pytest.mark.parametrize("size", [(640, 480), (300, 900)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_by_torch_are_next_to_the_model_s_own_where_pictures_are_nothing_but_noise(
    interpolation: str, size: tuple[int, int], tmp_path: Path
) -> None:
    preprocessor = load_preprocessor(open_clip_folder(tmp_path, interpolation=interpolation))
    assert isinstance(preprocessor, FastPreprocessor)
    for most in (2, 256):  # black and white alone, and all
        grey = np.random.default_rng(0).integers(0, most, (*size, 3), dtype=np.uint8) * (255 if most == 2 else 1)
        own, fast = preprocessor(Image.fromarray(grey)), preprocessor.fast(grey)
        away = np.abs(own.astype(int) - fast)
        assert away.max() <= 2
        assert (away > 1).mean() <= 1e-3
        assert away.mean() <= 0.02


def test_embeddings_of_both_decoders_are_one_direction() -> None:
    from isoenergy.encoders.open_clip_encoder import load_preprocessor as load_open_clip

    encoder, preprocessor = load_encoder("bundled"), load_open_clip(str(BUNDLED_ENCODER), None)
    images = [photo(size) for size in SIZES]
    own, fast = (
        encoder.encode_pixels(np.stack(pixels))
        for pixels in ([preprocessor(i) for i in images], [preprocessor.fast(np.array(i)) for i in images])
    )
    assert torch.cosine_similarity(own, fast).min() >= 0.9999


@pytest.mark.parametrize("model", ["clip", "open_clip", "open_clip_oblong", "open_clip_longest"])
def test_a_thread_of_an_image_is_rejected_before_it_is_blown_up(model: str, tmp_path: Path) -> None:
    preprocessor = load_preprocessor(MODELS[model](tmp_path))
    assert isinstance(preprocessor, FastPreprocessor)
    with pytest.raises(Rejected, match="too thin") as caught:
        preprocessor(Image.new("RGB", (1, 60_000)))
    assert caught.value.reason is Reason.IMAGE_TOO_LARGE
    with pytest.raises(Rejected) as caught_by_fast:
        preprocessor.fast(np.zeros((60_000, 1, 3), np.uint8))
    assert str(caught_by_fast.value) == str(caught.value)


CROPPED = {"size": {"shortest_edge": 32}, "crop_size": 32}
SQUASHED = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
RAW = CROPPED | {"do_normalize": False}


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (CROPPED, {}),
        (CROPPED, {"do_convert_rgb": None}),
        (CROPPED, {"crop_size": {"height": 32, "width": 32}}),
        (CROPPED, {"do_rescale": False}),
        (CROPPED, {"do_normalize": False}),
        (CROPPED, {"resample": 2}),
        (CROPPED, {"image_mean": [0.5, 0.5, 0.5]}),
        (CROPPED, {"image_std": [0.5, 0.5, 0.5]}),
        (CROPPED, {"rescale_factor": 1 / 127.5}),
        (CROPPED, {"size": {"shortest_edge": 40}}),
        (CROPPED, {"size": {"height": 32, "width": 32}}),
        (SQUASHED, {"crop_size": 99}),
        (RAW, {"image_mean": [0, 0, 0]}),
        (RAW, {"do_rescale": False}),
    ],
    ids=str,
)
def test_descriptions_are_equal_where_pixels_and_normalisation_are(
    settings: dict[str, Any], change: dict[str, Any], tmp_path: Path
) -> None:
    one = load_preprocessor(transformers_folder(tmp_path / "one", CLIPImageProcessor(**settings)))
    other = load_preprocessor(transformers_folder(tmp_path / "other", CLIPImageProcessor(**settings | change)))
    image = photo((60, 45))
    same = torch.equal(_normalised(one, one(image)), _normalised(other, other(image)))
    assert (one.describe() == other.describe()) == same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"size": 32}, {"size": [32, 32]}, True),
        ({}, {"fill_color": 9}, True),
        ({}, {"interpolation": "bilinear"}, False),
        ({}, {"resize_mode": "squash"}, False),
        ({}, {"mean": [0.5, 0.5, 0.5]}, False),
        ({"resize_mode": "longest"}, {"resize_mode": "longest", "fill_color": 9}, False),
    ],
)
def test_open_clip_s_descriptions(one: dict[str, Any], other: dict[str, Any], same: bool, tmp_path: Path) -> None:
    preprocessors = []
    for folder, settings in ((tmp_path / "one", one), (tmp_path / "other", other)):
        folder.mkdir()
        preprocessors.append(load_preprocessor(open_clip_folder(folder, **{"size": 32} | settings)))
    image = photo((60, 45))
    first, second = (_normalised(preprocessor, preprocessor(image)) for preprocessor in preprocessors)
    assert torch.equal(first, second) == same
    assert (preprocessors[0].describe() == preprocessors[1].describe()) == same


def _normalised(preprocessor: SplitPreprocessor, pixels: np.ndarray) -> Tensor:
    return preprocessor.normalise(torch.from_numpy(pixels.copy())[None])
