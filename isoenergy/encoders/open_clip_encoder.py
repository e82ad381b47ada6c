"""Any CLIP that open_clip builds: from a local folder in its own format, or an architecture with a checkpoint."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, ResizeKeepRatio, image_transform_v2, merge_preprocess_dict
from open_clip.utils import to_2tuple
from PIL import Image
from torch import Tensor
from torchvision.transforms import Resize
from torchvision.transforms.v2 import functional

from isoenergy.encoders.dual_encoder import Pixels, Precision
from isoenergy.encoders.resizing import require_resizable
from isoenergy.encoders.squashed_pixels import CONFIG_FILE, WEIGHTS_FILE
from isoenergy.encoders.torch_encoder import TorchEncoder, Towers
from isoenergy.encoders.vocabulary import require_tokens, require_vocabulary, unknown_words
from isoenergy.errors import InputError, in_brief
from isoenergy.storage import hub

_TOKENIZER_FILES = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class OpenClipModel:
    """A model that open_clip can build, and where its weights lie."""

    name: str
    """Of the encoder."""
    config: dict[str, Any]
    """The architecture."""
    preprocess: dict[str, Any]
    """What is set of the preprocessing."""
    folder: Path | None = None
    architecture: str = ""
    """By open_clip's name, where it is not a folder's."""
    pretrained: str = ""
    """Of a named architecture: a known tag or the absolute path of a safetensors checkpoint."""

    @property
    def source(self) -> str:
        """What open_clip takes as the model's name."""
        return f"local-dir:{self.folder}" if self.folder else self.architecture

    def checkpoint(self) -> str | None:
        """Return the path of a named architecture's weights, fetched if need be; None for a folder.

        Raises InputError if they cannot be had.
        """
        if self.folder:
            return None
        if os.path.isabs(self.pretrained):
            return self.pretrained
        model, file = os.path.split(get_pretrained_cfg(self.architecture, self.pretrained)["hf_hub"])
        pickled = file or HF_WEIGHTS_NAME
        safe = str(Path(pickled).with_suffix(".safetensors")) if file else HF_SAFE_WEIGHTS_NAME
        try:
            return str(hub.snapshot(model, (safe,), (safe,)) / safe)
        except hub.AbsentError:
            return str(hub.snapshot(model, (pickled,), (pickled,)) / pickled)


def find_model(source: str, alias: str | None) -> OpenClipModel:
    """Return the model at `source`: `FOLDER`, `ARCH:TAG` or `ARCH:PATH`; its name is `alias` or has an absolute path.

    Raises InputError if there is none.
    """
    architecture, _, pretrained = source.partition(":")
    config = open_clip.get_model_config(architecture)
    if config is None:
        folder = Path(source).expanduser().absolute()
        return _in_folder(alias or f"open_clip:{folder}", folder)
    tag = get_pretrained_cfg(architecture, pretrained)
    if tag:
        return OpenClipModel(f"open_clip:{source}", config, tag, architecture=architecture, pretrained=pretrained)
    path = Path(pretrained).expanduser().absolute()
    if path.suffix == ".safetensors" and path.is_file():
        return OpenClipModel(
            f"open_clip:{architecture}:{path}", config, {}, architecture=architecture, pretrained=str(path)
        )
    tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none"
    raise InputError(
        f"open_clip:{source} names no weights; expected open_clip:{architecture}:PRETRAINED with the path of a "
        f"safetensors file or one of the tags {tags}"
    )


def _in_folder(name: str, folder: Path) -> OpenClipModel:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder, and open_clip has no such architecture (open_clip.list_models())")
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise InputError(f"{folder} is not an open_clip model: it has no {file}")
    try:
        settings = json.loads((folder / CONFIG_FILE).read_text())
        config, preprocess = dict(settings["model_cfg"]), dict(settings["preprocess_cfg"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / CONFIG_FILE} is not usable ({in_brief(error)})") from error
    for tower, section in (("image", "vision_cfg"), ("text", "text_cfg")):
        if not isinstance(config.get(section), dict):
            raise InputError(f"{folder} is no dual encoder: it has no {tower} tower, no {section} in its {CONFIG_FILE}")
    return OpenClipModel(name, config, preprocess, folder)


class OpenClipPreprocessor:
    """open_clip's evaluation transform, cut where its output is still bytes."""

    def __init__(self, model: OpenClipModel) -> None:
        """Build the transform that open_clip builds with the model.

        Raises InputError if its settings are not usable.
        """
        try:
            height, width = to_2tuple(model.config["vision_cfg"].get("image_size", 224))
            settings = model.preprocess | {"size": (height, width)}
            self._config = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), settings))
            *self._geometry, _to_tensor, self._normalise = image_transform_v2(self._config, is_train=False).transforms
        except Exception as error:  # AssertionError, KeyError, TypeError and more
            raise InputError(f"{model.name} has unusable preprocessing settings ({in_brief(error)})") from error
        self.shape = (height, width, 3)

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize and crop to `(height, width, 3)` uint8."""
        self._require_resizable(image.width, image.height)
        for transform in self._geometry:
            image = transform(image)
        return np.asarray(image)

    def fast(self, rgb: Pixels) -> Pixels:
        """Resize and crop `(height, width, 3)` pixels by torch's arithmetic of bytes: next to what calling it gives.

        Of photographs within 1 of it, in the mean of all values within 0.01; where neighbours are noise of full
        contrast one value in 100,000 is 2 away.
        """
        height, width, _ = rgb.shape
        self._require_resizable(width, height)
        image = torch.from_numpy(rgb).permute(2, 0, 1)  # channels last, which torch resizes without a copy
        for transform in self._geometry:
            image = _of_tensor(transform, image)
        return np.ascontiguousarray(image.permute(1, 2, 0))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `(n, height, width, 3)` uint8 pixels as the model's `(n, 3, height, width)` float32 input."""
        normalised: Tensor = self._normalise(pixels.permute(0, 3, 1, 2).float() / 255)
        return normalised

    def describe(self) -> dict[str, Any]:
        """Return the transform's settings that have an effect."""
        settings = {"library": "open_clip", **vars(self._config)}
        settings |= {name: list(settings[name]) for name in ("size", "mean", "std")}
        if self._config.resize_mode != "longest":
            del settings["fill_color"]
        return settings

    def _require_resizable(self, width: int, height: int) -> None:
        if self._config.resize_mode != "squash":
            scales = self.shape[1] / width, self.shape[0] / height
            scale = max(scales) if self._config.resize_mode == "shortest" else min(scales)
            require_resizable((width, height), scale)


def _of_tensor(transform: Any, image: Tensor) -> Tensor:
    """Return `(3, height, width)` bytes under one of open_clip's transforms.

    Its crops take tensors as they are; its resizes would compute in floating point.
    """
    if isinstance(transform, Resize):
        size = transform.size
    elif isinstance(transform, ResizeKeepRatio):
        of_its_size = SimpleNamespace(size=(image.shape[2], image.shape[1]))
        size = transform.get_params(of_its_size, transform.size, transform.longest)
    else:
        cropped: Tensor = transform(image)
        return cropped
    resized: Tensor = functional.resize(image, size, transform.interpolation)
    return resized


def load_preprocessor(source: str, alias: str | None) -> OpenClipPreprocessor:
    """Return the preprocessing of a model; raises InputError as `find_model` does."""
    return OpenClipPreprocessor(find_model(source, alias))


def load_encoder(
    source: str, alias: str | None, device: torch.device, precision: Precision, compile: bool
) -> TorchEncoder:
    """Load a model, its tokenizer and its preprocessing; nothing but plain tensors is unpickled.

    A tag's weights that were trained with QuickGELU get it, whether the architecture's name says so or not.
    Raises InputError if files cannot be had, or do not fit together.
    """
    model = find_model(source, alias)
    preprocessor = OpenClipPreprocessor(model)
    _fetch_what_open_clip_will_ask_for(model)
    checkpoint = model.checkpoint()
    try:
        network: Any = open_clip.create_model(
            model.source,
            pretrained=checkpoint,
            precision="fp32",
            force_quick_gelu=model.preprocess.get("quick_gelu", False),
            require_pretrained=True,
        )
        tokenizer = _tokenizer(model)
    except InputError:
        raise
    except Exception as error:  # open_clip raises RuntimeError, ValueError, KeyError and more on a bad folder
        raise InputError(f"{model.name} is not a usable open_clip model ({in_brief(error)})") from error
    towers = Towers(
        network,
        lambda pixels: network.encode_image(pixels, normalize=False),
        lambda tokens: network.encode_text(tokens, normalize=False),
        lambda texts: (tokenizer(texts),),
        _unknown_words(tokenizer),
    )
    return TorchEncoder(model.name, towers, preprocessor, device, precision, compile)


def _tokenizer(model: OpenClipModel) -> Any:
    text = model.config["text_cfg"]
    if not text.get("hf_tokenizer_name"):
        tokenizer = open_clip.get_tokenizer(model.source)
        require_tokens(model.name, tokenizer.vocab_size, text.get("vocab_size", tokenizer.vocab_size))
        return tokenizer
    # a folder's own tokenizer_kwargs must not be able to ask for its code to be run
    tokenizer = open_clip.get_tokenizer(model.source, trust_remote_code=False)
    if model.folder:
        require_vocabulary(model.name, tokenizer.tokenizer, model.folder)
    return tokenizer


def _unknown_words(tokenizer: Any) -> Callable[[str], list[str]] | None:
    """open_clip's own tokenizer does not tell its pieces."""
    if not isinstance(tokenizer, HFTokenizer):
        return None
    return partial(unknown_words, tokenizer.tokenizer)


def _fetch_what_open_clip_will_ask_for(model: OpenClipModel) -> None:
    """Fetch what the hub is asked for beside the weights, within `hub.snapshot`'s bounds and with its errors."""
    text = model.config["text_cfg"]
    if text.get("hf_model_name"):
        hub.snapshot(text["hf_model_name"], ("config.json",), ("config.json",))
    if text.get("hf_tokenizer_name") and not model.folder:
        hub.snapshot(text["hf_tokenizer_name"], _TOKENIZER_FILES, ("tokenizer_config.json", "config.json"))
