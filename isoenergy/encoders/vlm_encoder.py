"""Layers of generative vision-language models of transformers (LLaVA, Qwen-VL, PaliGemma and their like) as encoders.

An image is read alone and a caption is read alone, each within its prompt; a row is what the tokens of the image, or of
the caption, have become after some blocks of the language model: the residual stream, before any final norm. Encoders
that are layers of one model share it, and one pass serves them all. Blocks after the deepest layer are not kept.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from isoenergy.encoders.digest import weights_digest
from isoenergy.encoders.dual_encoder import Pixels, Precision, Preprocessor, Tokens
from isoenergy.encoders.precision import autocast
from isoenergy.encoders.transformers_encoder import TransformersPreprocessor
from isoenergy.encoders.transformers_files import CONFIG, PREPROCESSING, SAFELY, ModelFiles, absolute_folder_or_id
from isoenergy.encoders.vlm_inputs import VlmInputs
from isoenergy.encoders.vlm_names import FAMILY, VlmName
from isoenergy.encoders.vocabulary import require_tokens, require_vocabulary
from isoenergy.encoders.whole_images import WholeImages, gathered
from isoenergy.errors import InputError, in_brief
from isoenergy.pairs.rejection import Rejected
from isoenergy.settings.hidden_states import HiddenStates

_IMAGES_AT_ONCE = 8
_TOKENS_AT_ONCE = 8192
_UNSHOWN = ("processor_class", "image_processor_type")
"""What a processor says of itself that has no effect on pixels."""

Layers = dict[int, list[Tensor]]
"""By layer, for each image or caption the rows of its tokens, `(rows, dim)` float32 on the CPU; pooled, it is one."""


class VlmReader:
    """A model, and what it makes of images and captions at some of its layers."""

    def __init__(
        self, network: Any, inputs: VlmInputs, reading: HiddenStates, device: torch.device, precision: Precision
    ) -> None:
        self.network, self.inputs, self.reading = network, inputs, reading
        self.device, self.precision = device, precision
        self._blocks: nn.ModuleList = network.get_decoder().layers

    def read_pixels(self, pixels: Pixels, layers: Sequence[int]) -> Layers:
        """Return the rows of images as `gathered` gives them."""
        found: Layers = {layer: [] for layer in layers}
        for start in range(0, len(pixels), _IMAGES_AT_ONCE):
            inputs = self.inputs.of_images(list(pixels[start : start + _IMAGES_AT_ONCE]))
            self._read(inputs, self.inputs.of_image(inputs), found)
        return found

    def read_tokens(self, tokens: Tokens, layers: Sequence[int]) -> Layers:
        """Return the rows of tokenised captions."""
        found: Layers = {layer: [] for layer in layers}
        lengths = tokens[1].sum(dim=1)
        for rows in _runs(lengths.tolist()):
            longest = int(lengths[rows].max())
            some = tuple(part[rows, :longest] for part in tokens)
            self._read(self.inputs.of_tokens(some), some[2], found)
        return found

    def _read(self, inputs: Mapping[str, Tensor], chosen: Tensor, found: Layers) -> None:
        """Add to `found` what becomes of the chosen tokens, `(n, tokens)` bool."""
        given = {name: values.to(self.device) for name, values in inputs.items()}
        with torch.no_grad(), autocast(self.device, self.precision), self._watched(found) as seen:
            self.network.base_model(**given, use_cache=False)
        for layer, states in seen.items():
            of_each = states.float()[chosen.to(states.device)].split(chosen.sum(dim=1).tolist())
            pooled = torch.stack([self._pooled(rows) for rows in of_each]) if self.reading.pooling != "all" else None
            found[layer] += list(pooled.cpu()[:, None]) if pooled is not None else map(self._spaced, of_each)

    def _pooled(self, rows: Tensor) -> Tensor:
        return rows.mean(dim=0) if self.reading.pooling == "mean" else rows[-1]

    def _spaced(self, rows: Tensor) -> Tensor:
        """Return all rows of `(tokens, dim)`, or as many as a pair may have, the middles of equal parts."""
        most = min(self.reading.most_tokens, len(rows))
        places = (torch.arange(most) * 2 + 1) * len(rows) // (2 * most)
        return rows[places.to(rows.device)].cpu()

    @contextmanager
    def _watched(self, layers: Mapping[int, object]) -> Iterator[dict[int, Tensor]]:
        """Give a dictionary that a pass fills with the hidden states, `(n, tokens, dim)`."""
        seen: dict[int, Tensor] = {}

        def entering(_block: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            seen[0] = args[0] if args else named["hidden_states"]

        def leaving(layer: int, _block: nn.Module, _args: object, output: Any) -> None:
            seen[layer] = output if isinstance(output, Tensor) else output[0]

        handles = [
            self._blocks[layer - 1].register_forward_hook(partial(leaving, layer))
            if layer
            else self._blocks[0].register_forward_pre_hook(entering, with_kwargs=True)
            for layer in layers
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


class VlmEncoder:
    """One layer; see `DualEncoder` and `LayerEncoder`. Where tokens have rows, what is asked has one: their mean."""

    def __init__(self, name: VlmName, reader: VlmReader, preprocessor: Preprocessor, digest: str, dim: int) -> None:
        self.name, self.layer, self.reader = str(name), name.layer, reader
        self.preprocessor, self.digest, self.dim = preprocessor, digest, dim

    @property
    def precision(self) -> Precision:
        """What the model computes in."""
        return self.reader.precision

    @property
    def tokens(self) -> bool:
        """Whether each token has a row of its own."""
        return self.reader.reading.pooling == "all"

    @property
    def reading(self) -> dict[str, Any]:
        """What is read and what is taken of it, as JSON values."""
        return {"layer": self.layer, **self.reader.inputs.describe()}

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        """Encode preprocessed images."""
        return self._rows(self.reader.read_pixels(pixels, [self.layer])[self.layer])

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Preprocess and encode images."""
        if not images:
            return torch.zeros(0, self.dim)
        return self.encode_pixels(gathered([self.preprocessor(image) for image in images], self.preprocessor.shape))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Tokenise and encode texts; raises InputError for one that the model does not take."""
        try:
            return self.encode_tokens(self.tokenise(texts)) if texts else torch.zeros(0, self.dim)
        except Rejected as why:
            raise InputError(f"{self.name} cannot read a text of these: {why}") from why

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Tokenise texts; raises Rejected for one that the model does not take."""
        return self.reader.inputs.tokenise(texts)

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """Encode tokenised texts."""
        return self._rows(self.reader.read_tokens(tokens, [self.layer])[self.layer])

    def in_float32(self) -> "VlmEncoder":
        """Return an encoder on the same weights that computes in float32."""
        exact = copy.copy(self)
        exact.reader = copy.copy(self.reader)
        exact.reader.precision = "float32"
        return exact

    def _rows(self, found: Sequence[Tensor]) -> Tensor:
        return torch.stack([rows.mean(dim=0) for rows in found]) if found else torch.zeros(0, self.dim)


def load_encoder(
    source: str, alias: str | None, device: torch.device, precision: Precision, compile: bool
) -> VlmEncoder:
    """Load one layer, as `load_layers` does."""
    del alias
    (encoder,) = load_layers([VlmName.parse(f"{FAMILY}{source}")], device, precision, compile)
    return encoder


def load_layers(
    names: Sequence[VlmName], device: torch.device, precision: Precision, compile: bool
) -> list[VlmEncoder]:
    """Load layers of one model, read alike, and try them on an image and a caption.

    No pickle is read and no code of the model's own is run.
    Raises InputError for a layer that the model does not have, for a model that is no such one, cannot be had or is
    not whole, and for `compile`.
    """
    names = [replace(name, source=absolute_folder_or_id(name.source)) for name in names]
    first = names[0]
    if compile:
        raise InputError(f"{first} cannot be compiled: leave --compile out")
    files = ModelFiles(f"{FAMILY}{first.source}", first.source)
    config = _config(files)
    folder = files.weights_folder()
    preprocessor = _preprocessor(files)
    processor = _processor(files, folder)
    require_tokens(files.name, len(processor.tokenizer), config.get_text_config().vocab_size)
    network = files.network(AutoModelForImageTextToText, folder, config).eval().requires_grad_(False)
    digest = weights_digest(network)
    _keep_blocks(files.name, network, [name.layer for name in names])
    inputs = VlmInputs(files.name, processor, network, first.reading, resized=preprocessor.shape is not None)
    reader = VlmReader(network.to(device), inputs, first.reading, device, precision)
    dim = _width(files.name, reader, preprocessor)
    return [VlmEncoder(name, reader, preprocessor, digest, dim) for name in names]


def load_preprocessor(source: str, alias: str | None) -> Preprocessor:
    """Return the preprocessing of a model; raises InputError if it has none or is no vision-language model."""
    del alias
    source = absolute_folder_or_id(VlmName.parse(f"{FAMILY}{source}").source)
    files = ModelFiles(f"{FAMILY}{source}", source)
    _config(files)
    return _preprocessor(files)


def _config(files: ModelFiles) -> PreTrainedConfig:
    folder = files.folder((*CONFIG, *PREPROCESSING), CONFIG)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **SAFELY)
    except Exception as error:  # of bad JSON, of an unknown model type, of values that do not fit
        raise InputError(f"{files.name} has no usable config.json ({in_brief(error)})") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise InputError(f"{files.name} is a {config.model_type}, and no model that makes text of images and text")
    return config


def _processor(files: ModelFiles, folder: Path) -> Any:
    try:
        processor = AutoProcessor.from_pretrained(folder, **SAFELY)
        tokenizer = processor.tokenizer
    except Exception as error:  # a processor raises nearly anything on files that are missing or not its own
        raise InputError(f"{files.name} has no usable processor ({in_brief(error)})") from error
    require_vocabulary(files.name, tokenizer, folder)
    return processor


def _preprocessor(files: ModelFiles) -> Preprocessor:
    """Return the model's own resize and crop where that makes images of one size, else what ships them whole."""
    folder = files.folder((*CONFIG, *PREPROCESSING), PREPROCESSING)
    with suppress(InputError):  # there is none, or it is not one that resizes and crops to one size
        return TransformersPreprocessor(files)
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **SAFELY)
    except Exception as error:  # as above
        raise InputError(f"{files.name} has no image processor that can be used ({in_brief(error)})") from error
    settings = {name: value for name, value in processor.to_dict().items() if name not in _UNSHOWN}
    return WholeImages(settings, partial(processor, return_tensors="pt"))


def _keep_blocks(name: str, network: Any, layers: Sequence[int]) -> None:
    """Drop the blocks after the deepest layer; raises InputError if there is no such layer."""
    decoder = network.get_decoder()
    blocks = getattr(decoder, "layers", None)
    if not isinstance(blocks, nn.ModuleList):
        raise InputError(f"{name} has a language model without a list of blocks: {type(decoder).__name__}")
    if max(layers) > len(blocks):
        raise InputError(f"{name} has layers 0 to {len(blocks)}, and {max(layers)} is asked for")
    decoder.layers = blocks[: max(1, *layers)]


def _width(name: str, reader: VlmReader, preprocessor: Preprocessor) -> int:
    """Return the width of what is read of a black image and of a caption, at the first layer that is kept."""
    try:
        black = Image.new("RGB", (64, 64))
        images = gathered([preprocessor(black)], preprocessor.shape)
        (image,) = reader.read_pixels(images, [0])[0]
        (caption,) = reader.read_tokens(reader.inputs.tokenise(["a photo"]), [0])[0]
    except Exception as error:  # whatever a model raises on an input of another shape
        raise InputError(
            f"{name} cannot be read: its weights do not fit its own processor or tokenizer ({in_brief(error)})"
        ) from error
    if image.shape[1] != caption.shape[1]:
        raise InputError(
            f"{name} has hidden states of {image.shape[1]} numbers of an image, {caption.shape[1]} of text"
        )
    return image.shape[1]


def _runs(lengths: Sequence[int]) -> Iterator[slice]:
    """Yield runs of texts that make, padded to their longest, few enough tokens for one pass."""
    start = longest = 0
    for number, length in enumerate(lengths):
        if (number + 1 - start) * max(longest, length) > _TOKENS_AT_ONCE and number > start:
            yield slice(start, number)
            start, longest = number, 0
        longest = max(longest, length)
    if lengths:
        yield slice(start, len(lengths))
