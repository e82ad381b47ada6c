"""From an encoder's name to the encoder."""

from pathlib import Path

import torch

from isoenergy.bundled import BUNDLED_ENCODER
from isoenergy.encoders.protocol import DualEncoder, Preprocessor
from isoenergy.errors import InputError

KNOWN = "bundled, or open_clip:FOLDER for a folder in open_clip's format"


def load_encoder(name: str, device: torch.device | None = None) -> DualEncoder:
    """Load the weights of the encoder `name` onto `device` (default: the CPU).

    name: `bundled`, or `open_clip:FOLDER` with `open_clip_config.json` and `open_clip_model.safetensors` in FOLDER.
    Raises InputError for an unknown name or a folder that is not such a model.
    """
    from isoenergy.encoders.open_clip_encoder import OpenClipEncoder  # open_clip takes seconds to import

    folder = _folder(name)
    return OpenClipEncoder(name if name == "bundled" else f"open_clip:{folder}", folder, device or torch.device("cpu"))


def load_preprocessor(name: str) -> Preprocessor:
    """Return the preprocessing of the encoder `name` without loading its weights; raises as `load_encoder` does."""
    from isoenergy.encoders.open_clip_encoder import OpenClipPreprocessor

    return OpenClipPreprocessor(_folder(name))


def _folder(name: str) -> Path:
    family, _, place = name.partition(":")
    if name == "bundled":
        return BUNDLED_ENCODER
    if family == "open_clip" and place:
        return Path(place).expanduser().absolute()
    raise InputError(f"unknown encoder {name!r}; expected {KNOWN}")
