"""Layers of small LLaVA, Qwen-VL and PaliGemma models with random weights, against a plain forward hook on each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from isoenergy.encoders import load_encoder, load_encoders, load_preprocessor
from isoenergy.encoders.dual_encoder import DualEncoder, LayerEncoder, is_layer
from isoenergy.encoders.whole_images import MOST_PIXELS, gathered
from isoenergy.errors import InputError
from isoenergy.pairs.rejection import Reason, Rejected
from tests.encoders.vlm_checkpoints import IMAGE, KINDS, LAYERS, PATCH, WIDTH, save_vlm
from tests.tiers import each_with_one

CAPTIONS = ["a cat", "a long caption of a naïve dog, née 猫, on the wet grass of a garden", "x", "two boats"]
SIZES = [(40, 90), (120, 60), (100, 100), (56, 56), (31, 200)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "model"
            made[kind].mkdir()
            save_vlm(kind, made[kind])
        return made[kind]

    return folder


def images() -> list[Image.Image]:
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in SIZES]


def hooked(folder: Path, layer: int, image: Image.Image | None, text: str) -> tuple[Tensor, Tensor]:
    """The ids of one image or caption, alone, and what leaves a block of the whole model."""
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    kept: list[Tensor] = []
    block = model.get_decoder().layers[max(layer - 1, 0)]
    if layer:
        block.register_forward_hook(lambda _module, _args, output: kept.append(output))
    else:
        block.register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
    given = processor(images=image, text=text, return_tensors="pt") if image else processor.tokenizer([text])
    names = ("input_ids", "attention_mask", "pixel_values", "image_grid_thw", "token_type_ids", "mm_token_type_ids")
    with torch.no_grad():
        model(**{name: torch.as_tensor(given[name]) for name in names if name in given})
    return torch.as_tensor(given["input_ids"])[0], kept[0][0]


@pytest.mark.parametrize(("kind", "layer"), each_with_one([*KINDS], [0, 2]))
def test_rows_are_what_a_hook_sees_of_each_alone(saved: Callable[[str], Path], kind: str, layer: int) -> None:
    folder = saved(kind)
    settings = {pooling: f"vlm:{folder}@{layer}?pooling={pooling}" for pooling in ("mean", "last", "all")}
    encoders = {pooling: layer_encoder(name) for pooling, name in settings.items()}
    token = AutoModelForImageTextToText.from_pretrained(folder).config.image_token_id
    reading = encoders["mean"].reading
    expected = []
    for image in images():
        ids, states = hooked(folder, layer, image, reading["image_text"])
        expected.append(states[ids == token])
        assert len(expected[-1]) > 1
    assert_all_alike(encoders, expected, lambda encoder: encoder.encode_images(images()), images=True)

    expected = []
    for caption in CAPTIONS:
        ids, states = hooked(folder, layer, None, reading["caption_text"].replace("{caption}", caption))
        own = len(AutoProcessor.from_pretrained(folder).tokenizer(caption, add_special_tokens=False)["input_ids"])
        assert len(ids) - own == (kind in ("llava", "paligemma"))  # <s>, <bos>
        expected.append(states[-own:])
    assert_all_alike(encoders, expected, lambda encoder: encoder.encode_texts(CAPTIONS), images=False)


def layer_encoder(name: str) -> LayerEncoder:
    encoder = load_encoder(name)
    assert is_layer(encoder)
    return encoder


def assert_all_alike(
    encoders: dict[str, LayerEncoder], expected: list[Tensor], encode: Callable[[DualEncoder], Tensor], images: bool
) -> None:
    """Of a batch in which sequences have different lengths."""
    close = {"atol": 1e-6, "rtol": 1e-6}
    torch.testing.assert_close(encode(encoders["mean"]), torch.stack([rows.mean(dim=0) for rows in expected]), **close)
    torch.testing.assert_close(encode(encoders["last"]), torch.stack([rows[-1] for rows in expected]), **close)
    every = encoders["all"]
    if images:
        found = every.reader.read_pixels(pixels_of(every), [every.layer])
    else:
        found = every.reader.read_tokens(every.tokenise(CAPTIONS), [every.layer])
    for rows, wanted in zip(found[every.layer], expected, strict=True):
        torch.testing.assert_close(rows, wanted, **close)


def pixels_of(encoder: DualEncoder) -> np.ndarray:
    return gathered([encoder.preprocessor(image) for image in images()], encoder.preprocessor.shape)


def test_the_side_on_which_a_tokenizer_pads_changes_nothing(saved: Callable[[str], Path], tmp_path: Path) -> None:
    for kind in ("llava", "qwen2-vl"):
        rows = []
        for side in ("left", "right"):
            folder = tmp_path / f"{kind}-{side}"
            shutil.copytree(saved(kind), folder)
            file = folder / "tokenizer_config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": side}))
            assert AutoProcessor.from_pretrained(folder).tokenizer.padding_side == side
            encoder = load_encoder(f"vlm:{folder}@{LAYERS}")
            rows.append((encoder.encode_images(images()), encoder.encode_texts(CAPTIONS)))
        assert all(torch.equal(left, right) for left, right in zip(*rows, strict=True))


def test_layers_of_one_model_share_it_and_keep_no_more_blocks_than_they_need(saved: Callable[[str], Path]) -> None:
    folder = saved("llava")
    first, second = load_encoders([f"vlm:{folder}@0", f"vlm:{folder}@2"])
    assert is_layer(first)
    assert is_layer(second)
    assert first.reader is second.reader
    assert first.digest == second.digest == load_encoder(f"vlm:{folder}@{LAYERS}").digest
    assert (first.dim, first.preprocessor.shape) == (WIDTH, (IMAGE, IMAGE, 3))
    passes = []
    model = first.reader.network.base_model  # type: ignore[attr-defined]
    model.register_forward_hook(lambda *_: passes.append(1))
    assert len(model.language_model.layers) == 2
    both = first.reader.read_pixels(pixels_of(first), [0, 2])
    assert len(passes) == 1
    torch.testing.assert_close(torch.cat([rows[:1] for rows in both[2]]), second.encode_images(images()))
    assert not torch.allclose(first.encode_images(images()), second.encode_images(images()), atol=0.1)


def test_of_more_tokens_than_a_pair_may_have_some_are_taken_evenly(saved: Callable[[str], Path]) -> None:
    folder = saved("llava")
    every, some = (layer_encoder(f"vlm:{folder}@1?pooling=all{most}") for most in ("", "&most_tokens=4"))
    whole, part = (it.reader.read_pixels(pixels_of(it), [1])[1][0] for it in (every, some))
    assert len(whole) == (IMAGE // PATCH) ** 2 == 16
    assert torch.equal(part, whole[[2, 6, 10, 14]])


def test_a_prompt_and_a_chat_template_are_read_and_their_tokens_are_not_the_caption_s(
    saved: Callable[[str], Path],
) -> None:
    folder = saved("qwen2.5-vl")
    plain, asked, chat = (
        layer_encoder(f"vlm:{folder}@2?pooling=all{more}")
        for more in ("", "&caption_prompt=A photo of {caption}.", "&chat=True")
    )
    assert asked.reading["caption_text"] == "A photo of {caption}."
    assert chat.reading["caption_text"] == "<|im_start|>user\n{caption}<|im_end|>\n"
    assert chat.reading["image_text"] == "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
    counts = {len(it.reader.read_tokens(it.tokenise(["two boats"]), [2])[2][0]) for it in (plain, chat)}
    assert len(counts) == 1
    before = "A photo of two"
    ids, states = hooked(folder, 2, None, f"{before} boats.")
    own = asked.reader.read_tokens(asked.tokenise(["two boats"]), [2])[2][0]
    first = AutoProcessor.from_pretrained(folder).tokenizer(f"{before} boats.", return_offsets_mapping=True)
    places = [n for n, (start, stop) in enumerate(first["offset_mapping"]) if stop > len("A photo of ") and start < 20]
    torch.testing.assert_close(own, states[places], atol=1e-6, rtol=1e-6)
    assert len(ids) > len(own)


def test_captions_without_tokens_of_their_own_or_with_the_model_s_are_rejected(saved: Callable[[str], Path]) -> None:
    encoder = load_encoder(f"vlm:{saved('llava')}@1")
    for caption, reason in (("an <image> of a cat", Reason.UNUSABLE_ROW), ("", Reason.EMPTY_CAPTION)):
        with pytest.raises(Rejected) as refused:
            encoder.tokenise([caption])
        assert refused.value.reason == reason
    ids, _, own = encoder.tokenise(["a very long caption " * 1000])
    assert ids.shape == own.shape == (1, 512)


def test_images_of_any_size_are_shipped_whole_but_for_a_bound(saved: Callable[[str], Path]) -> None:
    preprocess = load_preprocessor(f"vlm:{saved('qwen2-vl')}@1")
    assert preprocess.shape is None
    image = images()[0]
    (whole,) = gathered([preprocess(image)], None)
    assert np.array_equal(whole, np.asarray(image))
    (reduced,) = gathered([preprocess(Image.new("RGB", (3000, 1500), "red"))], None)
    assert 0.99 * MOST_PIXELS < reduced.shape[0] * reduced.shape[1] <= MOST_PIXELS
    with pytest.raises(Rejected, match="no shape that the model's processor takes"):
        preprocess(Image.new("RGB", (2000, 5)))
    json.dumps(preprocess.describe())


def test_bfloat16_is_near_float32_and_float32_can_be_had_of_it(saved: Callable[[str], Path]) -> None:
    name = f"vlm:{saved('paligemma')}@2"
    exact, half = load_encoder(name), load_encoder(name, precision="bfloat16")
    rows, near = exact.encode_texts(CAPTIONS), half.encode_texts(CAPTIONS)
    assert torch.nn.functional.cosine_similarity(rows, near).min() > 0.99
    assert not torch.equal(rows, near)
    assert is_layer(half)
    torch.testing.assert_close(half.in_float32().encode_texts(CAPTIONS), rows)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("@9", f"has layers 0 to {LAYERS}, and 9 is asked for"),
        ("", "is not vlm:FOLDER@LAYER"),
        ("@-1", "is not vlm:FOLDER@LAYER"),
        ("@1?pool=last", "pool=last is no setting; there are pooling, most_tokens"),
        ("@1?pooling=max", "pooling must be one of mean, last, all"),
        ("@1?caption_prompt=it", "caption_prompt must have {caption} in it once"),
        ("@1?chat=True", "has no chat template"),
    ],
)
def test_a_layer_that_cannot_be_had_is_an_error_that_says_so(
    saved: Callable[[str], Path], layer: str, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        load_encoder(f"vlm:{saved('paligemma')}{layer}")


def test_a_model_that_is_none_or_is_not_there_is_an_error_that_says_so(
    saved: Callable[[str], Path], siglip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="is a siglip, and no model that makes text of images and text"):
        load_encoder(f"vlm:{siglip}@1")
    shutil.copytree(saved("llava"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_encoder(f"vlm:{tmp_path / 'pickled'}@1")
    with pytest.raises(InputError, match="cannot be compiled"):
        load_encoder(f"vlm:{saved('llava')}@1", compile=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="the Hugging Face hub could not be reached"):
        load_encoder("vlm:lab/model@1")
