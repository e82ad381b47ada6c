"""The dual encoder that every family builds: two towers of one torch module."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from isoenergy.encoders.digest import weights_digest
from isoenergy.encoders.dual_encoder import Pixels, Precision, Preprocessor, Tokens
from isoenergy.encoders.precision import autocast
from isoenergy.errors import InputError, in_brief

Tower = Callable[..., Tensor]


class SplitPreprocessor(Preprocessor, Protocol):
    """The model's own preprocessing in two halves: calling it makes bytes, on the CPU; `normalise` does the rest."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, 3)` of the bytes."""
        ...

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `(n, height, width, 3)` uint8 pixels as the model's `(n, 3, height, width)` float32 input."""
        ...


@dataclass(frozen=True)
class Towers:
    """A loaded dual model and how it is called."""

    model: nn.Module
    encode_image: Tower
    """`(n, 3, height, width)` float32 to `(n, dim)`, projected and not normalised."""
    encode_text: Tower
    """What `tokenise` returns to `(n, dim)`, projected and not normalised."""
    tokenise: Callable[[list[str]], Tokens]
    """n texts to tensors whose first axis is n, padded to one length."""
    unknown_words: Callable[[str], list[str]] | None = None
    """The words of a text that the vocabulary does not hold; None: the tokenizer does not tell."""


class TorchEncoder:
    """A dual encoder on one device; see `DualEncoder`."""

    def __init__(
        self,
        name: str,
        towers: Towers,
        preprocessor: SplitPreprocessor,
        device: torch.device,
        precision: Precision,
        compile: bool,
    ) -> None:
        """Move the model to `device` and encode one image and one text.

        Raises InputError if the towers do not take what the preprocessing and the tokenizer make, or if their outputs
        are not of one length.
        """
        self.name, self.preprocessor, self.device, self.precision = name, preprocessor, device, precision
        self._model = towers.model.eval().requires_grad_(False).to(device)
        self._eager = self._image_tower, self._text_tower = towers.encode_image, towers.encode_text
        self._tokenise, self._unknown_words = towers.tokenise, towers.unknown_words
        try:
            black = torch.zeros(1, *preprocessor.shape, dtype=torch.uint8, device=device)
            image = self._run(self._image_tower, preprocessor.normalise(black))
            text = self.encode_tokens(self.tokenise(["a photo"]))
        except Exception as error:  # whatever a model raises on an input of another shape
            raise InputError(
                f"{name} cannot encode: its weights do not fit its own preprocessing or tokenizer ({in_brief(error)})"
            ) from error
        if image.ndim != 2 or image.shape != text.shape:
            raise InputError(
                f"{name} is no dual encoder: an image becomes {tuple(image.shape)} and a text {tuple(text.shape)}; "
                f"both must be (1, dim) in one space"
            )
        self.dim = image.shape[1]
        if compile:
            self._image_tower, self._text_tower = (_compiled(tower) for tower in self._eager)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return weights_digest(self._model)

    @property
    def model(self) -> nn.Module:
        """The module that both towers are of, for hooks on its layers."""
        return self._model

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        """Encode preprocessed images."""
        if not len(pixels):
            return torch.zeros(0, self.dim)
        batch = torch.from_numpy(pixels).to(self.device)
        return self._run(self._image_tower, self.preprocessor.normalise(batch))

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Preprocess and encode images."""
        if not images:
            return torch.zeros(0, self.dim)
        return self.encode_pixels(np.stack([self.preprocessor(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Tokenise and encode texts."""
        if not texts:
            return torch.zeros(0, self.dim)
        return self.encode_tokens(self.tokenise(texts))

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that the vocabulary does not hold; none where the tokenizer does not tell."""
        return self._unknown_words(text) if self._unknown_words else []

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Tokenise texts, padded to one length."""
        return self._tokenise(list(texts))

    def encode_tokens(self, tokens: Tokens) -> Tensor:
        """Encode tokenised texts."""
        return self._run(self._text_tower, *(part.to(self.device) for part in tokens))

    def in_float32(self) -> "TorchEncoder":
        """Return an encoder on the same weights that computes in float32, uncompiled."""
        exact = copy.copy(self)
        exact.precision = "float32"
        exact._image_tower, exact._text_tower = self._eager
        return exact

    def _run(self, tower: Tower, *inputs: Tensor) -> Tensor:
        with torch.no_grad(), autocast(self.device, self.precision):
            return tower(*inputs).float().cpu()


def _compiled(tower: Tower) -> Tower:
    """Compile at the first batch, once for all sizes: a unit's last batch is smaller than the others."""
    fast = torch.compile(tower)

    def run(*inputs: Tensor) -> Tensor:
        if len(inputs[0]) == 1:  # a size of 1 is never dynamic: it would be compiled for itself
            return tower(*inputs)
        for batch in inputs:
            torch._dynamo.maybe_mark_dynamic(batch, 0)
        return fast(*inputs)

    return run
