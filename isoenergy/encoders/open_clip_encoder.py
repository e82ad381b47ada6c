"""Any CLIP that open_clip builds, from a local folder in its own format."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from isoenergy.encoders.protocol import Pixels
from isoenergy.errors import InputError

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


class OpenClipPreprocessor:
    """open_clip's evaluation transform, cut where its output is still bytes."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's `preprocess_cfg`.

        Raises InputError if the folder holds no open_clip model.
        """
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise InputError(f"{folder} is not an open_clip model: it has no {file}")
        try:
            settings = json.loads((folder / CONFIG_FILE).read_text())["preprocess_cfg"]
            self._config = PreprocessCfg(**settings)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / CONFIG_FILE} has no usable preprocess_cfg ({error!r})") from error
        height, width = self._config.input_size[1:]
        self.shape = (height, width, 3)
        *self._geometry, _to_tensor, self._normalise = image_transform_v2(self._config, is_train=False).transforms

    def __call__(self, image: Image.Image) -> Pixels:
        """Resize and crop to `(height, width, 3)` uint8."""
        for transform in self._geometry:
            image = transform(image)
        return np.asarray(image)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `(n, height, width, 3)` uint8 pixels as the model's `(n, 3, height, width)` float32 input."""
        return self._normalise(pixels.permute(0, 3, 1, 2).float() / 255)

    def describe(self) -> dict[str, Any]:
        """Return the transform's settings."""
        return {"library": "open_clip", **vars(self._config)}


class OpenClipEncoder:
    """A CLIP in open_clip's architecture; see `DualEncoder`."""

    def __init__(self, name: str, folder: Path, device: torch.device) -> None:
        """Load the model, its tokenizer and its preprocessing; nothing is fetched and nothing unpickled.

        Raises InputError if the folder holds no open_clip model or its files do not fit together.
        """
        self.name, self.device = name, device
        self.preprocessor = OpenClipPreprocessor(folder)
        try:
            model = open_clip.create_model(f"local-dir:{folder}", device=device, precision="fp32")
            self._tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        except Exception as error:  # open_clip raises RuntimeError, ValueError, KeyError and more on a bad folder
            raise InputError(f"{folder} is not a usable open_clip model ({error})") from error
        self._model = model.eval().requires_grad_(False)
        self.digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
        self.dim = len(self.encode_texts([""])[0])

    def encode_pixels(self, pixels: Pixels) -> Tensor:
        """Encode preprocessed images."""
        with torch.no_grad():
            batch = self.preprocessor.normalise(torch.from_numpy(pixels).to(self.device))
            return self._model.encode_image(batch).float().cpu()

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Preprocess and encode images."""
        if not images:
            return torch.zeros(0, self.dim)
        return self.encode_pixels(np.stack([self.preprocessor(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Tokenise and encode texts."""
        if not texts:
            return torch.zeros(0, self.dim)
        with torch.no_grad():
            return self._model.encode_text(self._tokenizer(list(texts)).to(self.device)).float().cpu()
