"""open_clip's evaluation transform for a folder whose images are squashed to size, as those of the bundled encoder are.

It is one resize. Whoever decodes for such an encoder need not import open_clip, torch and torchvision for it.
"""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from isoenergy.encoders.dual_encoder import Pixels

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
_INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class SquashedPixels:
    """An image at the model's size, whatever its shape was: the pixels that `OpenClipPreprocessor` makes."""

    def __init__(self, size: tuple[int, int], interpolation: str, mean: list[float], std: list[float]) -> None:
        """size: height and width in pixels; mean, std: of the three channels."""
        self.shape = (*size, 3)
        self._resampling = _INTERPOLATIONS[interpolation]
        self._settings = {"mode": "RGB", "mean": mean, "std": std, "interpolation": interpolation}

    @classmethod
    def of_folder(cls, folder: Path) -> Self | None:
        """Read the settings of an open_clip folder; None if open_clip is to judge them, or does more than squash."""
        try:
            settings = json.loads((folder / CONFIG_FILE).read_text())
            preprocess, size = settings["preprocess_cfg"], settings["model_cfg"]["vision_cfg"]["image_size"]
            mean, std = preprocess["mean"], preprocess["std"]
            plain = (
                preprocess["resize_mode"] == "squash"
                and preprocess["mode"] == "RGB"
                and preprocess["interpolation"] in _INTERPOLATIONS
                and isinstance(settings["model_cfg"]["text_cfg"], dict)
                and all(isinstance(three, list) and len(three) == 3 for three in (mean, std))
                and isinstance(size, int)
                and size > 0
                and (folder / WEIGHTS_FILE).is_file()
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls((size, size), preprocess["interpolation"], mean, std) if plain else None

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize to `(height, width, 3)` uint8."""
        height, width, _ = self.shape
        return np.asarray(image.resize((width, height), self._resampling))

    def describe(self) -> dict[str, Any]:
        """Return the transform's settings that have an effect."""
        return {"library": "open_clip", "size": list(self.shape[:2]), **self._settings, "resize_mode": "squash"}
