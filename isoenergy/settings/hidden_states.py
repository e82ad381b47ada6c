"""How hidden states of a generative vision-language model become rows."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from isoenergy.errors import InputError

Pooling = Literal["mean", "last", "all"]
IMAGE, CAPTION = "{image}", "{caption}"
"""What stands in a prompt for the image, and for the caption."""


@dataclass(frozen=True)
class HiddenStates:
    """Of vlm encoders: which tokens' hidden states are taken."""

    pooling: Pooling = "mean"
    """What becomes of the tokens of an image, and of a caption: their mean, the last one alone, or all: a row a token,
    keyed pair#token."""
    most_tokens: int = 64
    """Rows of a pair with pooling all: of more tokens, so many are taken, spaced evenly."""
    image_prompt: str = IMAGE
    """What the model reads of an image, {image} being its tokens."""
    caption_prompt: str = CAPTION
    """What the model reads of a caption, {caption}: of its tokens alone are the hidden states."""
    chat: bool = False
    """Put either prompt into the model's own chat template, as a message of the user's."""

    def __post_init__(self) -> None:
        if self.pooling not in get_args(Pooling):
            raise InputError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {self.pooling!r}")
        if self.most_tokens < 1:
            raise InputError(f"most_tokens must be at least 1, got {self.most_tokens}")
        for name, wanted in (("image_prompt", IMAGE), ("caption_prompt", CAPTION)):
            if getattr(self, name).count(wanted) != 1:
                raise InputError(f"{name} must have {wanted} in it once, got {getattr(self, name)!r}")

    def chosen(self) -> dict[str, str]:
        """Return the settings that are not the defaults, as words."""
        return {f.name: str(value) for f in fields(self) if (value := getattr(self, f.name)) != f.default}


UNCHANGED = HiddenStates()
