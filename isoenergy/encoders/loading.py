"""From an encoder's name to the encoder."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isoenergy.encoders.dual_encoder import DualEncoder, Precision, Preprocessor, require_precision
from isoenergy.encoders.squashed_pixels import SquashedPixels
from isoenergy.encoders.vlm_names import VlmName, by_model
from isoenergy.errors import InputError
from isoenergy.storage.bundled_files import BUNDLED_ENCODER

if TYPE_CHECKING:
    import torch

ALIASES = {
    "bundled": f"open_clip:{BUNDLED_ENCODER}",
    "clip": "hf:openai/clip-vit-base-patch32",
    "clip-l": "hf:openai/clip-vit-large-patch14",
    "openclip": "hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "openclip-l": "hf:laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "siglip": "hf:google/siglip-base-patch16-224",
    "siglip2": "hf:google/siglip2-base-patch16-224",
}
"""The bundled encoder, and the paper's six."""
KNOWN = (
    f"one of {', '.join(ALIASES)}; hf:ID or hf:FOLDER for a CLIP or SigLIP that transformers loads; open_clip:FOLDER; "
    f"open_clip:ARCH:PRETRAINED with a tag or the path of a safetensors file; vlm:FOLDER@LAYER or vlm:ID@LAYER for a "
    f"layer of a generative model that transformers loads; or python:MODULE for a module of your own"
)


def load_encoder(
    name: str, device: "torch.device | None" = None, precision: Precision = "float32", compile: bool = False
) -> DualEncoder:
    """Load the encoder `name`, and try it on an image and a text.

    name: one of `ALIASES`; `hf:ID` on the Hugging Face hub or `hf:FOLDER`, with CLIP, SigLIP or another model of an
        image and a text tower that transformers loads; `open_clip:FOLDER` with `open_clip_config.json` and
        `open_clip_model.safetensors`; `open_clip:ARCH:PRETRAINED` with one of open_clip's architectures and one of its
        tags or the path of a safetensors file; `vlm:FOLDER@LAYER`, see `isoenergy.encoders.vlm_names`; `python:MODULE`,
        see `isoenergy.encoders.dual_encoder`.
    device: default: the CPU.
    precision: bfloat16 is autocast over float32 weights; outputs are float32 either way.
    compile: compile both towers with torch.compile, each at its first batch.
    Raises InputError for an unknown name, and for a model that is no dual encoder, cannot be had or is not whole.
    """
    import torch  # what only prepares pixels, or writes, loads no weights

    require_precision(precision)
    family, source, alias = _family(name)
    return family.load_encoder(source, alias, device or torch.device("cpu"), precision, compile)


def load_encoders(
    names: Sequence[str], device: "torch.device | None" = None, precision: Precision = "float32", compile: bool = False
) -> list[DualEncoder]:
    """Load several encoders as `load_encoder` does; layers of one model share its weights, and its passes."""
    loaded: dict[int, DualEncoder] = {}
    for group in by_model(names):
        if len(group) == 1:
            loaded[group[0]] = load_encoder(names[group[0]], device, precision, compile)
        else:
            loaded |= dict(zip(group, _layers([names[n] for n in group], device, precision, compile), strict=True))
    return [loaded[number] for number in range(len(names))]


def load_preprocessor(name: str) -> Preprocessor:
    """Return the preprocessing of the encoder `name` without loading its weights; raises as `load_encoder` does."""
    kind, _, folder = ALIASES.get(name, name).partition(":")
    if kind == "open_clip" and os.path.isabs(folder) and (squashed := SquashedPixels.of_folder(Path(folder))):
        return squashed
    family, source, alias = _family(name)
    return family.load_preprocessor(source, alias)


class _Family(Protocol):
    """A module that loads encoders of one kind."""

    def load_encoder(
        self, source: str, alias: str | None, device: "torch.device", precision: Precision, compile: bool
    ) -> DualEncoder:
        """Return the encoder at `source`."""

    def load_preprocessor(self, source: str, alias: str | None) -> Preprocessor:
        """Return the preprocessing of the encoder at `source`."""


def _family(name: str) -> tuple[_Family, str, str | None]:
    """Return the module that loads the encoder, what it takes for it, and the alias if `name` is one."""
    family, _, source = ALIASES.get(name, name).partition(":")
    if family not in _FAMILIES or not source:
        raise InputError(f"unknown encoder {name!r}; expected {KNOWN}")
    return _FAMILIES[family](), source, name if name in ALIASES else None


def _layers(
    names: Sequence[str], device: "torch.device | None", precision: Precision, compile: bool
) -> Sequence[DualEncoder]:
    import torch

    from isoenergy.encoders import vlm_encoder

    require_precision(precision)
    parsed = [VlmName.parse(name) for name in names]
    return vlm_encoder.load_layers(parsed, device or torch.device("cpu"), precision, compile)


def _transformers() -> _Family:
    from isoenergy.encoders import transformers_encoder  # takes seconds to import, as open_clip does

    return transformers_encoder


def _open_clip() -> _Family:
    from isoenergy.encoders.uncompiled_imports import without_the_compiler

    with without_the_compiler():
        from isoenergy.encoders import open_clip_encoder

    return open_clip_encoder


def _vision_language() -> _Family:
    from isoenergy.encoders import vlm_encoder

    return vlm_encoder


def _users_own() -> _Family:
    from isoenergy.encoders import user_encoder

    return user_encoder


_FAMILIES: dict[str, Callable[[], _Family]] = {
    "hf": _transformers,
    "open_clip": _open_clip,
    "vlm": _vision_language,
    "python": _users_own,
}
