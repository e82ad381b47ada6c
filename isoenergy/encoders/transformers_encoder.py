"""CLIP, SigLIP and their like as transformers loads them, from a folder or from the Hugging Face hub."""

import html
import string
from collections.abc import Callable
from typing import Any

import ftfy
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedConfig
from transformers.image_processing_backends import TorchvisionBackend
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from isoenergy.encoders.dual_encoder import Pixels, Precision
from isoenergy.encoders.resizing import require_resizable
from isoenergy.encoders.torch_encoder import TorchEncoder, Towers
from isoenergy.encoders.transformers_files import CONFIG, PREPROCESSING, SAFELY, ModelFiles, absolute_folder_or_id
from isoenergy.encoders.vocabulary import require_tokens, require_vocabulary, unknown_words
from isoenergy.errors import InputError, in_brief

_SIGLIP = ("siglip", "siglip2")
_STEPS = ("preprocess", "process_image", "_preprocess", "resize", "center_crop", "pad", "rescale_and_normalize")


class TransformersModel(ModelFiles):
    """A model that is to have two towers."""

    def dual_config(self) -> PreTrainedConfig:
        """Return the model's configuration.

        Raises InputError if it is not a dual encoder's.
        """
        folder = self.folder((*CONFIG, *PREPROCESSING), CONFIG)
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **SAFELY)
            architecture: Any = MODEL_MAPPING[type(config)]
        except Exception as error:  # of bad JSON, of an unknown model type, of values that do not fit
            raise InputError(f"{self.name} has no usable config.json ({in_brief(error)})") from error
        lacking = [tower for tower in ("image", "text") if not hasattr(architecture, f"get_{tower}_features")]
        if len(lacking) == 2:  # a model of one tower, which it need not name
            lacking.remove("image" if architecture.main_input_name == "pixel_values" else "text")
        if lacking:
            raise InputError(f"{self.name} has no {lacking[0]} tower: {architecture.__name__} is no dual encoder")
        return config


def find_model(source: str, alias: str | None) -> TransformersModel:
    """Return the model at `source`, a folder or an id on the hub; its name is `alias` or has an absolute path."""
    source = source if alias else absolute_folder_or_id(source)
    return TransformersModel(alias or f"hf:{source}", source)


class TransformersPreprocessor:
    """The image processor that transformers has for the model, cut where its output is still bytes."""

    def __init__(self, model: ModelFiles) -> None:
        """Read the processor's settings and try it on two images.

        Raises InputError if there is no processor, or none that resizes and crops to RGB bytes of one size first and
        does what remains to numbers after.
        """
        folder = model.folder((*CONFIG, *PREPROCESSING), PREPROCESSING)
        try:
            self._processor = AutoImageProcessor.from_pretrained(folder, **SAFELY)
            _require_plain(self._processor)
            shapes = {self._check(width, height) for width, height in ((31, 50), (64, 23))}
        except Exception as error:  # processors raise nearly anything on settings that do not fit
            raise InputError(f"{model.name} has no image processor that can be used ({in_brief(error)})") from error
        if len(shapes) > 1:
            raise InputError(f"the image processor of {model.name} gives images of different sizes: {shapes}")
        (self.shape,) = shapes

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize and crop to `(height, width, 3)` uint8."""
        self._require_resizable(image.width, image.height)
        (pixels,) = self._processor(image, do_rescale=False, do_normalize=False)["pixel_values"]
        return np.ascontiguousarray(pixels.permute(1, 2, 0))

    def fast(self, rgb: Pixels) -> Pixels:
        """Resize and crop `(height, width, 3)` pixels as calling it does, without a copy in another order before."""
        height, width, _ = rgb.shape
        self._require_resizable(width, height)
        p, images = self._processor, torch.from_numpy(rgb).permute(2, 0, 1)[None]
        if p.do_resize:
            images = p.resize(images, p.size, p.resample)
        if p.do_center_crop:
            images = p.center_crop(images, p.crop_size)
        if p.do_pad:
            images = p.pad(list(images), p.pad_size)[0][None]
        return np.ascontiguousarray(images[0].permute(1, 2, 0))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `(n, height, width, 3)` uint8 pixels as the model's `(n, 3, height, width)` float32 input."""
        p = self._processor
        normalised: Tensor = p.rescale_and_normalize(
            pixels.permute(0, 3, 1, 2), p.do_rescale, p.rescale_factor, p.do_normalize, p.image_mean, p.image_std
        ).float()
        return normalised

    def describe(self) -> dict[str, Any]:
        """Return the processor's settings that have an effect."""
        p = self._processor
        settings: dict[str, Any] = {"library": "transformers"}
        if p.do_resize:
            settings |= {"size": dict(p.size), "resample": None if p.resample is None else int(p.resample)}
        if p.do_center_crop:
            settings["crop_size"] = dict(p.crop_size)
        if p.do_pad:
            settings["pad_size"] = dict(p.pad_size)
        if p.do_rescale:
            settings["rescale_factor"] = p.rescale_factor
        if p.do_normalize:
            settings |= {"mean": list(p.image_mean), "std": list(p.image_std)}
        return settings

    def _require_resizable(self, width: int, height: int) -> None:
        p = self._processor
        if p.do_resize and p.size.shortest_edge and not p.size.longest_edge:
            require_resizable((width, height), p.size.shortest_edge / min(width, height))

    def _check(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the shape of the pixels of an image of that size, if both halves make the whole."""
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        pixels = self(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"its resize and crop give {pixels.dtype} {pixels.shape}, not uint8 (height, width, 3)")
        whole = self._processor(image, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(self.normalise(torch.from_numpy(pixels)[None]), whole.float(), atol=1e-6, rtol=0)
        return pixels.shape[0], pixels.shape[1], 3


def _require_plain(processor: Any) -> None:
    """Raise TypeError unless the processor resizes, crops, rescales and normalises as most do, in this order."""
    kind = type(processor)
    own = [step for step in _STEPS if getattr(kind, step, None) is not getattr(TorchvisionBackend, step)]
    if own:
        raise TypeError(f"{kind.__name__} has its own {', '.join(own)}: its pixels cannot be shipped as bytes")


def load_preprocessor(source: str, alias: str | None) -> TransformersPreprocessor:
    """Return the preprocessing of a model; raises InputError if it has none or is no dual encoder."""
    model = find_model(source, alias)
    model.dual_config()
    return TransformersPreprocessor(model)


def load_encoder(
    source: str, alias: str | None, device: torch.device, precision: Precision, compile: bool
) -> TorchEncoder:
    """Load a model, its tokenizer and its image processor; no pickle is read and no code of the model's own is run.

    Raises InputError if it is no dual encoder, or if files are missing, corrupt or do not fit together.
    """
    model = find_model(source, alias)
    config = model.dual_config()
    preprocessor = TransformersPreprocessor(model)
    folder = model.weights_folder()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **SAFELY)
    except Exception as error:  # a tokenizer raises nearly anything on files that are missing or not its own
        raise InputError(f"{model.name} has no usable tokenizer ({in_brief(error)})") from error
    require_vocabulary(model.name, tokenizer, folder)
    network = model.network(AutoModel, folder, config)
    return TorchEncoder(
        model.name, _towers(model.name, network, tokenizer, config), preprocessor, device, precision, compile
    )


def _towers(name: str, network: Any, tokenizer: Any, config: PreTrainedConfig) -> Towers:
    text = config.get_text_config()
    length = min(tokenizer.model_max_length, getattr(text, "max_position_embeddings", tokenizer.model_max_length))
    require_tokens(name, len(tokenizer), text.vocab_size)
    # SigLIP is trained to attend to the padding
    inputs = ["input_ids"] if config.model_type in _SIGLIP else ["input_ids", "attention_mask"]
    prepare = _preparation(config, tokenizer)

    def tokenise(texts: list[str]) -> tuple[Tensor, ...]:
        tokens = tokenizer(
            [prepare(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=length,
            return_attention_mask="attention_mask" in inputs,
            return_tensors="pt",
        )
        return tuple(tokens[name] for name in inputs)

    def encode_image(pixels: Tensor) -> Tensor:
        embeddings: Tensor = network.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
        return embeddings

    def encode_text(*tokens: Tensor) -> Tensor:
        features = network.get_text_features(**dict(zip(inputs, tokens, strict=True)), return_dict=True)
        embeddings: Tensor = features.pooler_output
        return embeddings

    return Towers(network, encode_image, encode_text, tokenise, lambda text: unknown_words(tokenizer, prepare(text)))


def _preparation(config: PreTrainedConfig, tokenizer: Any) -> Callable[[str], str]:
    """Return what was done to the texts in training and the tokenizer leaves out."""
    if config.model_type == "clip":
        return _mended
    if config.model_type in _SIGLIP and tokenizer.init_kwargs.get("do_lower_case", True):
        upper, lower = (tokenizer(letters)["input_ids"] for letters in (string.ascii_uppercase, string.ascii_lowercase))
        if upper != lower:  # SigLIP 2's Gemma tokenizer ignores its own do_lower_case
            return str.lower
    return str


def _mended(text: str) -> str:
    """Mend mojibake, typographic quotes and HTML entities, as CLIP's own tokenizer and open_clip's do."""
    return html.unescape(html.unescape(ftfy.fix_text(text)))
