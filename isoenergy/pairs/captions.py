"""The texts that one value of a source holds, and which of them become pairs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

CaptionChoice = Literal["all", "first", "random"]
TEXT_FIELDS = ("raw", "caption", "text", "value", "content")
_SPEAKERS = ("from", "role")
_ANSWERING = ("gpt", "assistant", "model")


@dataclass(frozen=True)
class Captions:
    """What becomes of several captions of one image."""

    choice: CaptionChoice = "all"
    """all: each is a pair; first, random: that one is, of those that are more than white space."""
    seed: int = 0
    """Of the random choice, which also depends on the pair's key, and on nothing else."""

    def chosen(self, key: bytes | None, texts: Sequence[str | None]) -> list[tuple[bytes | None, str | None]]:
        """Return the key and the caption of each pair of one row; there is at least one.

        A key has `#0`, `#1`, … behind it where each of several captions is a pair.
        """
        if len(texts) < 2:
            return [(key, texts[0] if texts else None)]
        match self.choice:
            case "all":
                return [(key and key + f"#{number}".encode(), text) for number, text in enumerate(texts)]
            case "first":
                return [(key, _with_text(texts)[0])]
            case "random":
                some = _with_text(texts)
                digest = hashlib.sha256(f"isoenergy-caption/{self.seed}/".encode() + (key or b"")).digest()
                return [(key, some[int.from_bytes(digest[:8], "big") % len(some)])]

    def pairs(self, texts: int) -> int:
        """Return how many pairs a row with so many captions makes."""
        return max(1, texts) if self.choice == "all" else 1


EACH_CAPTION = Captions()


def texts_of(value: Any) -> list[str | None]:
    """Return the texts in a value: one, a list of them, of records that hold one each, or a dialogue's first answer."""
    if isinstance(value, list | tuple):
        if any(_speaker(item) for item in value):
            return [_text(next((item for item in value if _speaker(item) in _ANSWERING), None))]
        return [_text(item) for item in value] or [None]
    return [_text(value)]


def _with_text(texts: Sequence[str | None]) -> Sequence[str | None]:
    return [text for text in texts if text and text.strip()] or texts


def _speaker(item: Any) -> str | None:
    speaker = next((item[name] for name in _SPEAKERS if name in item), None) if isinstance(item, dict) else None
    return speaker if isinstance(speaker, str) else None


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        value = next((value[name] for name in TEXT_FIELDS if name in value), None)
    if isinstance(value, list):  # the parts of a message
        value = next((part["text"] for part in value if isinstance(part, dict) and "text" in part), None)
    return value if isinstance(value, str) else None
