"""An exploration of made-up pairs, whose encoder knows their captions and colours."""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from isoenergy import SparseAutoencoder
from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.serving import open_exploration
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import shifted_pairs, write_pairs

DIM, PAIRS, ATOMS = 12, 150, 40
MOST_WORDS = 20
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SUBJECTS = ("cat", "education", "harbour", "violin", "teapot", "zebra")


def caption_of(pair: int) -> str:
    return HOSTILE if pair == 7 else f"a {SUBJECTS[pair % len(SUBJECTS)]} of number {pair}"


class KnowingEncoder:
    """Encodes a caption of the pairs as their text, and an image of the colour `(pair, 0, 0)` as their image."""

    name, dim, digest = "knowing", DIM, "d" * 64

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        self._images, self._texts = images, texts

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._texts[self._pair(text)] for text in texts]).astype(np.float32))

    def tokenise(self, texts: Sequence[str]) -> tuple[torch.Tensor, ...]:
        words = [text.split()[:MOST_WORDS] for text in texts]
        return (
            torch.tensor(
                [[zlib.crc32(word.encode()) for word in each + [""] * MOST_WORDS][:MOST_WORDS] for each in words]
            ),
        )

    @staticmethod
    def unknown_words(text: str) -> list[str]:
        return [word for word in text.split() if not word.isascii()]

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        reds = [image.getpixel((0, 0))[0] for image in images]
        return torch.from_numpy(self._images[reds].astype(np.float32))

    @staticmethod
    def _pair(text: str) -> int:
        return next((pair for pair in range(PAIRS) if caption_of(pair) == text), 0)


def png(red: int, size: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def arrays() -> tuple[np.ndarray, np.ndarray]:
    return shifted_pairs(PAIRS, DIM, noise=0.5)


def make_store(folder: Path, pictures: bool = False) -> Path:
    images, texts = arrays()
    captions = [caption_of(pair) for pair in range(PAIRS)]
    source = None
    if pictures:
        source = folder / "source"
        source.mkdir()
        table = pa.table(
            {"key": list(map(str, range(PAIRS))), "image": [png(pair) for pair in range(PAIRS)], "caption": captions}
        )
        pq.write_table(table, source / "pairs.parquet")
    return write_pairs(folder / "store", images, texts, captions=captions, train=100, source=source)


def make_sae(seed: int = 0, **settings: object) -> SparseAutoencoder:
    config = SaeConfig(dim=DIM, atoms=ATOMS, k=4, beta=settings.pop("beta", 0.0), **settings)  # type: ignore[arg-type]
    sae = SparseAutoencoder(config, torch.Generator().manual_seed(seed))
    if config.input == "centred":
        sae.image_mean[0], sae.text_mean[0] = 0.3, -0.4
    if config.decoder_bias:
        sae.decoder_bias[:3] = torch.tensor([0.2, -0.1, 0.3])
    return sae.requires_grad_(False).eval()


def explored(folder: Path, pictures: bool = False, **options: object) -> Exploration:
    saes = {"first": make_sae(0), "second": make_sae(1, beta=1e-3)}
    store = EmbeddingStore.open(str(make_store(folder, pictures)))
    knowing: Any = KnowingEncoder(*arrays())
    return open_exploration(saes, store, folder / "output", knowing, **options)  # type: ignore[arg-type]
