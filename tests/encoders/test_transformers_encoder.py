import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from tests.encoders import checkpoints

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": 32, "patch_size": 16}


@pytest.fixture(scope="module")
def pairs() -> tuple[list[Image.Image], list[str]]:
    rows = pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet"))[0]).slice(0, 100).to_pylist()
    return [decode_image(row["image"]) for row in rows], [row["caption"] for row in rows]


def assert_same_rows(ours: Tensor, theirs: Tensor) -> None:
    assert cosine_similarity(ours, theirs).min() >= 0.9999
    assert cosine_similarity(ours, theirs.roll(1, 0)).mean() < 0.9  # one row is not like another


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_the_same_weights_give_the_same_rows_through_either_library(
    tmp_path: Path, pairs: tuple[list[Image.Image], list[str]], quick_gelu: bool
) -> None:
    checkpoints.save_clip_both_ways(tmp_path / "open_clip", tmp_path / "transformers", quick_gelu)
    ours, theirs = load_encoder(f"hf:{tmp_path / 'transformers'}"), load_encoder(f"open_clip:{tmp_path / 'open_clip'}")
    images, texts = pairs
    assert any("“" in text for text in texts)  # which open_clip mends and transformers does not
    assert_same_rows(ours.encode_images(images), theirs.encode_images(images))
    assert_same_rows(ours.encode_texts(texts), theirs.encode_texts(texts))


def test_outputs_are_the_model_s_own_projected_and_not_normalised(clip: Path) -> None:
    encoder = load_encoder(f"hf:{clip}")
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), AutoTokenizer.from_pretrained(clip)
    texts = ["a Cat", "word " * 200, ""]
    with torch.no_grad():
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        assert tokens["input_ids"].shape == (3, 77)
        expected = model.get_text_features(**tokens).pooler_output
    actual = encoder.encode_texts(texts)
    torch.testing.assert_close(actual, expected)
    assert actual.shape == (3, encoder.dim)
    assert (actual.norm(dim=1) - 1).abs().min() > 0.1


def test_siglip_texts_are_lower_cased_and_padded_to_64_tokens_that_are_attended_to(
    siglip: Path, siglip2: Path, tmp_path: Path
) -> None:
    as_siglip2 = tmp_path / "siglip2"  # its tokenizer class lower-cases by itself
    shutil.copytree(siglip2, as_siglip2)
    _json("tokenizer_config.json", tokenizer_class="Siglip2Tokenizer")(as_siglip2)
    for folder in (siglip, siglip2, as_siglip2):
        encoder = load_encoder(f"hf:{folder}")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(text)["input_ids"] for text in ("a photo of a cat", "cat " * 100)]
        padded = [row[:63] + [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (64 - len(row)) for row in ids]
        padded[0] = ids[0] + [tokenizer.pad_token_id] * (64 - len(ids[0]))
        with torch.no_grad():
            expected = SiglipModel.from_pretrained(folder).get_text_features(torch.tensor(padded)).pooler_output
        torch.testing.assert_close(encoder.encode_texts(["A Photo of a CAT", "cat " * 100]), expected)
        assert encoder.dim == 32


def test_a_tokenizer_that_keeps_case_on_purpose_keeps_it(siglip2: Path, tmp_path: Path) -> None:
    shutil.copytree(siglip2, tmp_path / "cased")
    _json("tokenizer_config.json", do_lower_case=False)(tmp_path / "cased")
    lower, upper = load_encoder(f"hf:{tmp_path / 'cased'}").encode_texts(["a cat", "A CAT"])
    assert not torch.allclose(lower, upper)


@pytest.mark.parametrize("model", ["clip", "siglip", "siglip2"])
def test_a_row_does_not_depend_on_its_batch(
    model: str, pairs: tuple[list[Image.Image], list[str]], request: pytest.FixtureRequest
) -> None:
    encoder = load_encoder(f"hf:{request.getfixturevalue(model)}")
    for encode, inputs in ((encoder.encode_images, pairs[0][:5]), (encoder.encode_texts, pairs[1][:5])):
        alone = torch.cat([encode([one]) for one in inputs])
        torch.testing.assert_close(encode(inputs), alone, rtol=1e-4, atol=1e-5)
        assert encode([]).shape == (0, encoder.dim)


def test_a_relative_folder_becomes_a_name_for_any_working_directory(
    siglip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(siglip.parent)
    encoder = load_encoder(f"hf:{siglip.name}")
    assert encoder.name == f"hf:{siglip}"
    monkeypatch.chdir("/")
    assert load_encoder(encoder.name).digest == encoder.digest


def test_the_digest_is_the_weights_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip, tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    CLIPModel.from_pretrained(clip).save_pretrained(tmp_path / "sharded", max_shard_size="2MB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    shutil.copytree(clip, tmp_path / "other")
    _weights(lambda weights: weights["visual_projection.weight"][0, 0].add_(1e-6))(tmp_path / "other")
    digest = load_encoder(f"hf:{clip}").digest
    assert load_encoder(f"hf:{tmp_path / 'sharded'}").digest == digest
    assert load_encoder(f"hf:{tmp_path / 'other'}").digest != digest


def _json(file: str, **values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(settings | values))

    return change


def _weights(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    return changed


def _unlink(*files: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / file).unlink() for file in files]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "there is no folder"),
        (_unlink("config.json"), "has no config.json"),
        (_unlink("preprocessor_config.json"), "has no preprocessor_config.json"),
        (_unlink("tokenizer.json"), "needs tokenizer.json or vocab.json and merges.txt"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "has no model.safetensors",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "no usable config.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no usable tokenizer"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "cannot be loaded"),
        (_weights(lambda weights: weights.pop("text_projection.weight")), "missing_keys.*text_projection.weight"),
        (_weights(lambda weights: weights.update(extra=torch.ones(1))), "unexpected_keys.*extra"),
        (_json("config.json", projection_dim=99), "mismatched_keys.*text_projection.weight"),
        (_json("preprocessor_config.json", crop_size=32), "its weights do not fit its own preprocessing"),
        (_json("preprocessor_config.json", do_center_crop=False), "images of different sizes"),
        (_json("config.json", model_type="mine", auto_map={"AutoConfig": "mine.Mine"}), "no usable config.json"),
        (
            _json(
                "preprocessor_config.json", image_processor_type="Mine", auto_map={"AutoImageProcessor": "mine.Mine"}
            ),
            "no image processor that can be used",
        ),
    ],
)
def test_an_unusable_folder_is_an_error(
    clip: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    shutil.copytree(clip, tmp_path / "model")
    (tmp_path / "model" / "mine.py").write_text("raise SystemExit('code of the model was run')")
    change(tmp_path / "model")
    with pytest.raises(InputError, match=message):
        load_encoder(f"hf:{tmp_path / 'model'}")


def test_another_model_s_tokenizer_is_an_error(siglip: Path, clip: Path, tmp_path: Path) -> None:
    shutil.copytree(siglip, tmp_path / "model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(clip / file, tmp_path / "model")
    with pytest.raises(InputError, match="another model's: it has 49408 tokens, the model 500"):
        load_encoder(f"hf:{tmp_path / 'model'}")


def test_a_checkpoint_of_before_its_position_ids_were_dropped_is_whole(clip: Path, tmp_path: Path) -> None:
    shutil.copytree(clip, tmp_path / "model")
    old = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    _weights(lambda weights: weights.update(old))(tmp_path / "model")
    assert load_encoder(f"hf:{tmp_path / 'model'}").digest == load_encoder(f"hf:{clip}").digest


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: CLIPVisionModel(CLIPVisionConfig(**VISION)), "has no text tower"),
        (lambda: ViTModel(ViTConfig(**VISION)), "has no text tower"),
        (lambda: BertModel(BertConfig(**TOWER)), "has no image tower"),
    ],
)
def test_a_model_of_one_tower_is_an_error(tmp_path: Path, model: Callable[[], CLIPModel], message: str) -> None:
    model().save_pretrained(tmp_path)
    for load in (load_encoder, load_preprocessor):
        with pytest.raises(InputError, match=message):
            load(f"hf:{tmp_path}")


def test_a_processor_that_gives_no_image_of_one_size_is_an_error(tmp_path: Path) -> None:
    Siglip2Config().save_pretrained(tmp_path)
    Siglip2ImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"Siglip2ImageProcessor has its own .*_preprocess: its pixels"):
        load_preprocessor(f"hf:{tmp_path}")
