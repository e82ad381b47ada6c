"""The encoder that asked texts and images go through: that of the store, loaded while the page is already there."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor

from isoenergy.encoders import load_encoder
from isoenergy.encoders.dual_encoder import DualEncoder, KnowsWords
from isoenergy.errors import InputError, in_brief

_KEPT_TEXTS = 4_096


class AskedEncoder:
    """An encoder, or why there is none."""

    def __init__(
        self,
        name: str,
        dim: int,
        digest: str = "",
        load: Callable[[str], DualEncoder] = load_encoder,
    ) -> None:
        """Begin to load. digest: that of the weights which the store was made by; empty: it does not say."""
        self.name, self._dim, self._digest = name, dim, digest
        self._encoded = lru_cache(_KEPT_TEXTS)(lambda text: self._encoder().encode_texts([text])[0])
        self._read = lru_cache(_KEPT_TEXTS)(lambda text: _letters_read(self._encoder(), text))
        self._lock = threading.Lock()
        self._loaded: Future[DualEncoder] = Future()
        threading.Thread(target=self._load, args=(load,), daemon=True, name="encoder").start()

    def _load(self, load: Callable[[str], DualEncoder]) -> None:
        try:
            encoder = load(self.name)
            if encoder.dim != self._dim:
                raise InputError(f"{self.name} makes rows of width {encoder.dim}, and the store has {self._dim}")
            if self._digest and encoder.digest != self._digest:
                raise InputError(f"{self.name} has other weights now than when the store was made by it")
            self._loaded.set_result(encoder)
        except BaseException as error:  # whoever asks is told
            self._loaded.set_exception(
                error if isinstance(error, InputError) else InputError(f"{self.name}: {in_brief(error)}")
            )

    def require(self) -> None:
        """Wait until it is there; raises InputError, as loading it does, if it cannot be had."""
        self._loaded.result()

    @property
    def trouble(self) -> str:
        """Why there is none; empty while it is loaded, and if it could be."""
        failed = self._loaded.done() and self._loaded.exception()
        return f"texts and images cannot be encoded: {failed}" if failed else ""

    def text(self, text: str) -> Tensor:
        """Return the raw `(dim,)` row of a text, once the encoder is there; raises InputError if there is none."""
        with self._lock:
            return self._encoded(text)

    def letters_read(self, text: str) -> int:
        """Return how many of a text's letters the encoder reads: all, or those before which a shorter one is the same.

        What it leaves out anyway, as punctuation at the end, counts as read. Raises InputError if there is no encoder.
        """
        with self._lock:
            return self._read(text)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that the encoder does not know; none where it does not tell.

        Raises InputError if there is no encoder.
        """
        with self._lock:
            encoder = self._encoder()
            return encoder.unknown_words(text) if isinstance(encoder, KnowsWords) else []

    def image(self, image: Image.Image) -> Tensor:
        """Return the raw `(dim,)` row of an RGB image."""
        with self._lock, torch.no_grad():
            return self._encoder().encode_images([image])[0]

    def _encoder(self) -> DualEncoder:
        try:
            return self._loaded.result()
        except InputError as error:
            raise InputError(f"texts and images cannot be encoded: {error}; ask by a pair instead") from error


def _letters_read(encoder: DualEncoder, text: str) -> int:
    whole = encoder.tokenise([text])
    first, last = 1, len(text)  # as many letters as `last` are enough
    while first < last:
        middle = (first + last) // 2
        tokens = encoder.tokenise([text[:middle]])
        if all(map(torch.equal, tokens, whole)):
            last = middle
        else:
            first = middle + 1
    return last if any(map(str.isalnum, text[last:])) else len(text)
