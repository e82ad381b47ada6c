"""What decoding and resizing a picture costs, one core: today's decoders, those that were not chosen, and layouts.

All ways take the same JPEGs of 640 × 480 in turn, in one process of one thread, by CPU time; each is compared with the
model's own pixels. The measures go to `docs/benchmarks/decoding.json`.
"""

import io
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
import torchvision
import tyro
from PIL import Image
from torch.nn.functional import cosine_similarity
from transformers import CLIPConfig, CLIPImageProcessor, CLIPImageProcessorPil

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.encoders.dual_encoder import FastPreprocessor, Pixels
from isoenergy.encoders.open_clip_encoder import load_preprocessor as load_open_clip
from isoenergy.extraction.preprocessing import preprocessed
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.fast_decoding import decode_picture
from isoenergy.settings.image_choices import AS_SEEN
from isoenergy.storage.bundled_files import BUNDLED_ENCODER
from tests.benchmarks.random_clip import make_open_clip_folder
from tests.benchmarks.results import add_measures
from tests.benchmarks.tars import photographs

_RESULTS = Path("docs/benchmarks/decoding.json")
_EXACT = replace(AS_SEEN, decoder="exact")
_SIDE = 224

Way = Callable[[bytes], Any]


@dataclass(frozen=True)
class DecodingConfig:
    """Compare ways to decode and resize JPEGs of 640 × 480."""

    pictures: int = 48
    rounds: int = 9
    seed: int = 0


def decoders() -> dict[str, Way]:
    """Return what decodes to RGB alone."""
    return {
        "Pillow": decode_image,
        "torchvision.io.decode_jpeg": _by_torchvision,
        "simplejpeg": simplejpeg.decode_jpeg,
        "--decoder fast: Pillow opens, simplejpeg decodes": decode_picture,
    }


def ways(preprocessor: FastPreprocessor) -> dict[str, Way]:
    """Return what makes a model's pixels, the model's own first."""
    return {
        "exact: Pillow, the model's own": lambda raw: preprocessed(raw, [preprocessor], _EXACT)[0],
        "Pillow, resized by torch": lambda raw: preprocessor.fast(np.array(decode_image(raw))),
        "torchvision, resized by torch": lambda raw: preprocessor.fast(_by_torchvision(raw).permute(1, 2, 0).numpy()),
        "simplejpeg, channels first, resized by torch": lambda raw: preprocessor.fast(_channels_first(raw)),
        "fast: simplejpeg, resized by torch": lambda raw: preprocessed(raw, [preprocessor], AS_SEEN)[0],
        "Pillow's draft, the model's own": lambda raw: preprocessor(_draft(raw)),
    }


def _by_torchvision(raw: bytes) -> torch.Tensor:
    return torchvision.io.decode_jpeg(torch.frombuffer(raw, dtype=torch.uint8))


def _channels_first(raw: bytes) -> Pixels:
    """Return `(height, width, 3)` pixels that lie channel by channel."""
    return np.ascontiguousarray(simplejpeg.decode_jpeg(raw).transpose(2, 0, 1)).transpose(1, 2, 0)


def _draft(raw: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(raw))
    image.draft("RGB", (_SIDE, _SIDE))
    return image.convert("RGB")


def _slow_processor(raw: bytes) -> Pixels:
    made = CLIPImageProcessorPil()(decode_image(raw), do_rescale=False, do_normalize=False)["pixel_values"][0]
    return np.asarray(made).transpose(1, 2, 0)


def milliseconds(ways: dict[str, Way], pictures: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Return the CPU milliseconds a picture of each way: the least of rounds in turn, as what else runs only adds."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for raw in pictures:
                way(raw)
            taken[name].append(1000 * (time.process_time() - start) / len(pictures))
    return {name: min(times) for name, times in taken.items()}


def compared(ways: dict[str, Way], pictures: Sequence[bytes], rounds: int) -> dict[str, Any]:
    """Return cost and distance in grey levels of each way against the first."""
    costs = milliseconds(ways, pictures, rounds)
    own, *_ = ways.values()
    measures = {}
    for name, way in ways.items():
        away = [np.abs(np.asarray(own(raw), np.int16) - np.asarray(way(raw), np.int16)) for raw in pictures]
        measures[name] = {
            "milliseconds": costs[name],
            "times_exact": next(iter(costs.values())) / costs[name],
            "furthest": max(int(each.max()) for each in away),
            "mean_distance": float(np.mean([each.mean() for each in away])),
        }
    return measures


def cosines(name: str, preprocessor: FastPreprocessor, pictures: Sequence[bytes]) -> float:
    """Return the lowest cosine between an encoder's rows of both decoders' pixels."""
    encoder = load_encoder(name)
    exact, fast = (
        encoder.encode_pixels(np.stack([preprocessed(raw, [preprocessor], reading)[0] for raw in pictures]))
        for reading in (_EXACT, AS_SEEN)
    )
    return cosine_similarity(exact, fast).min().item()


def transformers_preprocessor(folder: Path) -> FastPreprocessor:
    """Return CLIP's image processor by the preprocessing of `hf:FOLDER`."""
    CLIPConfig().save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return _fast(load_preprocessor(f"hf:{folder}"))


def _fast(preprocessor: object) -> FastPreprocessor:
    assert isinstance(preprocessor, FastPreprocessor)
    return preprocessor


def measure(config: DecodingConfig, folder: Path) -> dict[str, Any]:
    """Compare all ways on both kinds of preprocessing, and what embeddings make of both decoders."""
    pictures = photographs(config.pictures, (640, 480), config.seed)
    make_open_clip_folder(folder / "clip")
    vit = f"open_clip:{folder / 'clip'}"
    open_clip = _fast(load_preprocessor(vit))
    transformers = transformers_preprocessor(folder / "hf")
    squashed = _fast(load_open_clip(str(BUNDLED_ENCODER), None))
    own_slow = {"exact: Pillow, the model's own": ways(transformers)["exact: Pillow, the model's own"]}
    return {
        "pictures": len(pictures),
        "mean_bytes": float(np.mean([len(raw) for raw in pictures])),
        "decoders_milliseconds": milliseconds(decoders(), pictures, config.rounds),
        "open_clip": compared(ways(open_clip), pictures, config.rounds),
        "transformers": compared(ways(transformers), pictures, config.rounds),
        "transformers_slow": compared(own_slow | {"its slow processor": _slow_processor}, pictures, config.rounds),
        "lowest_cosine": {
            "ViT-B/32, random weights": cosines(vit, open_clip, pictures),
            "bundled encoder, squashed by torch": cosines("bundled", squashed, pictures),
        },
    }


def main() -> None:
    """Measure and keep the measures."""
    config = tyro.cli(DecodingConfig, description=__doc__)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "The given buffer is not writable")
    warnings.filterwarnings("ignore", ".*deprecated")
    with tempfile.TemporaryDirectory() as folder:
        add_measures(_RESULTS, "decoding", measure(config, Path(folder)))


if __name__ == "__main__":
    main()
