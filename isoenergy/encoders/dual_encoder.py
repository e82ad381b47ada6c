"""What every dual encoder offers, and how a user brings one of their own.

`python:MODULE` names any importable module, in every process of the cluster, that has two functions:

    load_encoder(device: torch.device, precision: Precision, compile: bool) -> DualEncoder
    load_preprocessor() -> Preprocessor

The encoder's `name` is `python:MODULE`; its `preprocessor` describes itself as the one of `load_preprocessor` does.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from isoenergy.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Pixels = npt.NDArray[np.uint8]
Tokens: TypeAlias = "tuple[Tensor, ...]"
"""Tensors whose first axis is that of the texts."""
Precision = Literal["float32", "bfloat16"]
"""What the towers compute in; weights, normalised pixels and outputs are float32 either way."""


@runtime_checkable
class Preprocessor(Protocol):
    """The model's own image preprocessing up to bytes: cheap to load, without the weights."""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """`(height, width, 3)` of its output; None if the model takes images of any size: it is packed then, see
        `isoenergy.encoders.whole_images`."""
        ...

    def __call__(self, image: "Image.Image") -> Pixels:
        """Return `(height, width, 3)` uint8 pixels of the model's input size, from an RGB image of any size.

        Raises Rejected for an image that cannot be resized within reasonable memory.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return settings, as JSON values, that are equal for two preprocessors whose pixels, and what the models make
        of them, are equal, and for no others."""
        ...


@runtime_checkable
class FastPreprocessor(Preprocessor, Protocol):
    """Preprocessing that also takes decoded pixels, for `--decoder fast`."""

    def fast(self, rgb: Pixels) -> Pixels:
        """Return what calling it returns of the same picture, or what is next to it.

        rgb: `(height, width, 3)` of any size, which other encoders take as well: not to be written to.
        Raises Rejected as calling it does.
        """
        ...


@runtime_checkable
class DualEncoder(Protocol):
    """An image tower and a text tower with outputs in one space; projected, not normalised, float32."""

    @property
    def name(self) -> str:
        """What `load_encoder` loads it by, in whatever working directory."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 over the loaded state dict: names, types, shapes and values, in order of name (`weights_digest`).

        The same weights have the same digest, whatever files they lie in. An encoder of the user's own defines its own.
        """
        ...

    @property
    def precision(self) -> Precision:
        """What the towers compute in."""
        ...

    @property
    def preprocessor(self) -> Preprocessor:
        """The image tower's preprocessing."""
        ...

    def encode_pixels(self, pixels: Pixels) -> "Tensor":
        """Encode `(n, height, width, 3)` preprocessed images as `(n, dim)` float32 rows on the CPU."""
        ...

    def encode_images(self, images: "Sequence[Image.Image]") -> "Tensor":
        """Preprocess and encode images as `(n, dim)` float32 rows on the CPU."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> "Tensor":
        """Tokenise and encode texts as `(n, dim)` float32 rows on the CPU."""
        ...

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return what the text tower takes of n texts, on the CPU; may run while another thread encodes."""
        ...

    def encode_tokens(self, tokens: Tokens) -> "Tensor":
        """Encode tokenised texts as `(n, dim)` float32 rows on the CPU."""
        ...


@runtime_checkable
class ComparableEncoder(DualEncoder, Protocol):
    """An encoder whose bfloat16 can be compared with float32: see `cosine_to_float32`."""

    def in_float32(self) -> DualEncoder:
        """Return an encoder on the same weights, not copied, that computes in float32."""
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """What an encoder has that tells which words it knows."""

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that its vocabulary does not hold; none where that is not known."""
        ...


class LayerReader(Protocol):
    """A model that is read at some of its layers in one pass."""

    def read_pixels(self, pixels: Pixels, layers: Sequence[int]) -> "Mapping[int, Sequence[Tensor]]":
        """Return, by layer, the `(rows, dim)` float32 rows of each image, on the CPU."""
        ...

    def read_tokens(self, tokens: Tokens, layers: Sequence[int]) -> "Mapping[int, Sequence[Tensor]]":
        """Return, by layer, the `(rows, dim)` float32 rows of each tokenised text, on the CPU."""
        ...


class LayerEncoder(DualEncoder, Protocol):
    """An encoder that is one layer of a model; those with one `reader` are read together."""

    @property
    def reader(self) -> LayerReader:
        """The model."""
        ...

    @property
    def layer(self) -> int:
        """Which layer."""
        ...

    @property
    def tokens(self) -> bool:
        """Whether a pair has a row for each token; else it has one."""
        ...

    @property
    def reading(self) -> dict[str, Any]:
        """What the model is given to read and what is taken of it, as JSON values, for the store's manifest."""
        ...


def is_layer(encoder: DualEncoder) -> TypeGuard[LayerEncoder]:
    """Return whether an encoder is a layer: by its reader, as all that it has, its digest too, may take long to ask."""
    return hasattr(encoder, "reader")


def require_precision(precision: str) -> None:
    """Raise InputError unless `precision` is one of `Precision`."""
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
