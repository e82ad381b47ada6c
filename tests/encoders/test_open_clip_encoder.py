import copy
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from isoenergy.bundled import BUNDLED_ENCODER
from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from tests.encoders.fake_hub import Hub, at_this_hub
from tests.pairs.made_up_pairs import encoded_image

TINY = "isoenergy-tiny"


@pytest.fixture
def images() -> list[Image.Image]:
    return [decode_image(encoded_image(size=size, seed=n)) for n, size in enumerate([(40, 30), (32, 32), (17, 90)])]


@pytest.fixture
def tiny_architecture(
    open_clip: ModuleType, other_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An architecture of open_clip, with the weights of `other_encoder` as its checkpoint `model.safetensors`."""
    for registry in ("_MODEL_CONFIGS", "_MODEL_CONFIG_PATHS"):
        monkeypatch.setattr(open_clip.factory, registry, copy.copy(getattr(open_clip.factory, registry)))
    config = json.loads((other_encoder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / f"{TINY}.json")
    shutil.copy(other_encoder / "open_clip_model.safetensors", tmp_path / "model.safetensors")
    return TINY


def test_encoding_is_open_clip_s_own(open_clip: ModuleType, other_encoder: Path, images: list[Image.Image]) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{other_encoder}")
    encoder = load_encoder(f"open_clip:{other_encoder}")
    texts = ["a cat", "Six o’clock &amp; all is well", "word " * 100]
    with torch.no_grad():
        expected = model.eval().encode_image(torch.stack([preprocess(image) for image in images]))
        torch.testing.assert_close(encoder.encode_images(images), expected)
        tokens = open_clip.get_tokenizer(f"local-dir:{other_encoder}")(texts)
        torch.testing.assert_close(encoder.encode_texts(texts), model.encode_text(tokens))


def test_texts_and_sizes(other_encoder: Path) -> None:
    encoder = load_encoder(f"open_clip:{other_encoder}")
    assert encoder.encode_texts(["a", "a " * 500, ""]).shape == (3, encoder.dim)
    assert encoder.encode_texts([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)
    assert encoder.encode_texts(["x"]).dtype == torch.float32


def test_a_relative_path_becomes_a_name_for_any_working_directory(
    tiny_architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder(f"open_clip:{tiny_architecture}:model.safetensors")
    assert encoder.name == f"open_clip:{tiny_architecture}:{tmp_path / 'model.safetensors'}"
    monkeypatch.chdir("/")
    assert load_encoder(encoder.name).digest == encoder.digest


def test_a_tag_s_weights_come_from_the_hub_as_safetensors_and_with_their_activation(
    open_clip: ModuleType, tiny_architecture: str, other_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    shutil.copy(other_encoder / "open_clip_model.safetensors", repository)
    (repository / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Exploit()))
    tag = {"hf_hub": "timm/tiny/", "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_architecture, {"webli": tag})
    with at_this_hub(Hub({"timm/tiny": {"main": repository}}), monkeypatch):
        encoder = load_encoder(f"open_clip:{tiny_architecture}:webli")
        assert encoder.preprocessor.describe()["mean"] == [0.1, 0.2, 0.3]
        model = open_clip.create_model(
            tiny_architecture, str(repository / "open_clip_model.safetensors"), force_quick_gelu=True
        )
        with torch.no_grad():
            expected = model.eval().encode_text(open_clip.tokenize(["a cat"], context_length=16))
        torch.testing.assert_close(encoder.encode_texts(["a cat"]), expected)


class Exploit:
    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was run')",)


def test_a_tag_without_safetensors_is_read_as_plain_tensors_or_not_at_all(
    open_clip: ModuleType, tiny_architecture: str, other_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
    torch.save(load_file(other_encoder / "open_clip_model.safetensors"), good / "weights.bin")
    torch.save({"state_dict": Exploit()}, bad / "weights.bin")
    tags = {name: {"hf_hub": f"timm/{name}/weights.bin"} for name in ("good", "bad")}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_architecture, tags)
    with at_this_hub(Hub({"timm/good": {"main": good}, "timm/bad": {"main": bad}}), monkeypatch):
        encoder = load_encoder(f"open_clip:{tiny_architecture}:good")
        assert encoder.digest == load_encoder(f"open_clip:{other_encoder}").digest
        with pytest.raises(InputError, match="not a usable open_clip model"):
            load_encoder(f"open_clip:{tiny_architecture}:bad")


def _config(section: str, **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "open_clip_config.json").read_text())
        settings["model_cfg"][section] = (settings["model_cfg"][section] | values) if values else None
        (folder / "open_clip_config.json").write_text(json.dumps(settings))

    return change


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "open_clip_model.safetensors")
        change(weights)
        save_file(weights, folder / "open_clip_model.safetensors")

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_config("vision_cfg", width=64), "not a usable open_clip model"),
        (_config("text_cfg", vocab_size=100), "not a usable open_clip model"),
        (_weights(lambda weights: weights.pop("ln_final.bias")), "ln_final.bias"),
        (_weights(lambda weights: weights.update(extra=torch.ones(1))), "extra"),
        (lambda folder: (folder / "open_clip_model.safetensors").write_bytes(b"x" * 99), "Safetensor"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{"), "not usable"),
        (lambda folder: (folder / "open_clip_model.safetensors").unlink(), "has no open_clip_model.safetensors"),
        (shutil.rmtree, "is no folder"),
        (_config("text_cfg"), "has no text tower"),
        (
            _config("text_cfg", hf_tokenizer_name="mine", tokenizer_kwargs={"trust_remote_code": True}),
            "not a usable open_clip model",
        ),
    ],
)
def test_an_unusable_folder_is_an_error(
    other_encoder: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(other_encoder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}})
    )
    (tmp_path / "model" / "mine.py").write_text("raise SystemExit('code of the model was run')")
    change(tmp_path / "model")
    with pytest.raises(InputError, match=message):
        load_encoder(f"open_clip:{tmp_path / 'model'}")


def test_a_folder_without_its_tokenizer_is_an_error(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED_ENCODER, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load_encoder(f"open_clip:{tmp_path / 'model'}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip-9", "unknown encoder 'clip-9'; expected one of bundled, clip,.*hf:ID.*open_clip:FOLDER.*python:MODULE"),
        ("open_clip:", "unknown encoder"),
        ("open_clip:ViT-B-32", "names no weights.*laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32:not-a-tag", "names no weights.*laion2b_s34b_b79k"),
        ("open_clip:nowhere", "is no folder"),
    ],
)
def test_an_unknown_name_is_an_error(name: str, message: str) -> None:
    for load in (load_encoder, load_preprocessor):
        with pytest.raises(InputError, match=message):
            load(name)
