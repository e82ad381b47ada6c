"""WebDataset tars of any size whose pictures cost what photographs cost to decode; a seed gives the same bytes again.

A picture is a scene of scaled-up bundled pictures under 1/f noise, the spectrum of photographs: the noise decides how
many of a JPEG's coefficients are not zero, and with them what decoding costs.
"""

import hashlib
import io
import json
import statistics
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tyro
from PIL import Image
from tqdm import tqdm

from isoenergy.bundled import BUNDLED_PAIRS

ASPECTS = (1.0, 4 / 3, 3 / 2, 16 / 9)
QUALITIES = (85, 95)
CONTRASTS = (1.5, 8.0)
"""Standard deviation of a picture's noise in grey levels, spread evenly in its logarithm."""
_COLOUR = 0.25
"""Contrast of the noise between the channels, as a part of that in all of them."""
_LAYERS = 3
_NOISES = 8

Picture = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TarsConfig:
    """Write WebDataset tars in img2dataset's layout; print what their pictures are like."""

    folder: tyro.conf.Positional[Path]
    pairs: int = 4096
    per_tar: int = 512
    seed: int = 0
    smallest: int = 224
    """Pixels of the shortest side."""
    largest: int = 640
    """Pixels of the longest side."""


def make_tars(folder: Path, pairs: int, per_tar: int, seed: int, smallest: int = 224, largest: int = 640) -> list[Path]:
    """Write `pairs` pairs to `00000.tar`, `00001.tar` … with `.jpg`, `.json` and `.txt` members; return the tars.

    smallest, largest: pixels of the shortest and of the longest side. The longer side is uniform between them, the
    aspect a common one, half of the pictures stand upright, and the JPEG quality is 85 to 95.
    """
    generator = np.random.default_rng(seed)
    bundled = [row for file in sorted(BUNDLED_PAIRS.glob("*.parquet")) for row in _images_and_captions(file)]
    noises = [_photographic_noise(2 * largest, generator) for _ in range(_NOISES)]
    folder.mkdir(parents=True, exist_ok=True)
    tars = [folder / f"{number:05}.tar" for number in range(-(-pairs // per_tar))]
    with tqdm(total=pairs, desc="tars", unit=" pairs") as bar:
        for first, tar in zip(range(0, pairs, per_tar), tars, strict=True):
            with tarfile.open(tar, "w") as archive:
                for number in range(min(per_tar, pairs - first)):
                    chosen = [bundled[n] for n in generator.integers(len(bundled), size=_LAYERS)]
                    jpeg, size = _photograph([image for image, _ in chosen], noises, smallest, largest, generator)
                    _add_pair(archive, f"{tar.stem}{number:04}", jpeg, size, caption=chosen[0][1])
                    bar.update()
    return tars


def photographs(count: int, size: tuple[int, int], seed: int) -> list[bytes]:
    """Return JPEGs like those of the tars, all of one `(width, height)`."""
    generator = np.random.default_rng(seed)
    bundled = [row for file in sorted(BUNDLED_PAIRS.glob("*.parquet")) for row in _images_and_captions(file)]
    noises = [_photographic_noise(2 * max(size), generator) for _ in range(_NOISES)]
    chosen = generator.integers(len(bundled), size=(count, _LAYERS))
    return [_photograph_of(size, [bundled[n][0] for n in numbers], noises, generator) for numbers in chosen]


def describe_tars(tars: Sequence[Path], decoded: int = 256) -> dict[str, float]:
    """Return the mean size, bits a pixel and decoding time, on one core, of the first `decoded` pictures."""
    sizes, bits, seconds = [], [], []
    for jpeg in _pictures(tars, decoded):
        start = time.perf_counter()
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        seconds.append(time.perf_counter() - start)
        sizes.append(len(jpeg))
        bits.append(8 * len(jpeg) / (image.width * image.height))
    return {
        "pictures": len(sizes),
        "mean_bytes": statistics.fmean(sizes),
        "bits_per_pixel": statistics.fmean(bits),
        "bits_per_pixel_p10": float(np.quantile(bits, 0.1)),
        "bits_per_pixel_p90": float(np.quantile(bits, 0.9)),
        "decode_milliseconds": 1000 * statistics.fmean(seconds),
    }


def _images_and_captions(file: Path) -> list[tuple[bytes, str]]:
    rows = pq.read_table(file, columns=["image", "caption"]).to_pylist()
    return [(row["image"], row["caption"]) for row in rows]


def _photographic_noise(side: int, generator: np.random.Generator) -> Picture:
    """`(side, side, 3)`, mean 0 and deviation near 1 in each channel: random phases, amplitude 1/frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = np.inf
    planes = []
    for _ in range(4):
        plane = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((side, side))) / frequency, (side, side))
        planes.append(plane / plane.std())
    *colours, grey = planes
    return np.stack([grey + _COLOUR * colour for colour in colours], axis=-1).astype(np.float32)


def _photograph(
    images: Sequence[bytes],
    noises: Sequence[Picture],
    smallest: int,
    largest: int,
    generator: np.random.Generator,
) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG and its `(width, height)`."""
    longer = int(generator.integers(smallest, largest + 1))
    shorter = max(smallest, round(longer / generator.choice(ASPECTS)))
    size = (longer, shorter) if generator.random() < 0.5 else (shorter, longer)
    return _photograph_of(size, images, noises, generator), size


def _photograph_of(
    size: tuple[int, int], images: Sequence[bytes], noises: Sequence[Picture], generator: np.random.Generator
) -> bytes:
    width, height = size
    noise = noises[int(generator.integers(len(noises)))]
    top, left = generator.integers(noise.shape[0] - height), generator.integers(noise.shape[1] - width)
    contrast = np.exp(generator.uniform(*np.log(CONTRASTS)))
    pixels = contrast * noise[top : top + height, left : left + width]
    for image, weight in zip(images, generator.dirichlet(np.ones(len(images))), strict=True):
        pixels += weight * _scaled_crop(image, size, generator)
    buffer = io.BytesIO()
    quality = int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _scaled_crop(image: bytes, size: tuple[int, int], generator: np.random.Generator) -> Picture:
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    part = generator.uniform(0.5, 1.0)
    left, top = generator.uniform(0, 1 - part, size=2)
    box = (left * picture.width, top * picture.height, (left + part) * picture.width, (top + part) * picture.height)
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box), np.float32)


def _add_pair(archive: tarfile.TarFile, key: str, jpeg: bytes, size: tuple[int, int], caption: str) -> None:
    width, height = size
    about = {
        "caption": caption,
        "key": key,
        "status": "success",
        "error_message": None,
        "width": width,
        "height": height,
        "original_width": width,
        "original_height": height,
        "sha256": hashlib.sha256(jpeg).hexdigest(),
    }
    for suffix, content in (("jpg", jpeg), ("json", json.dumps(about).encode()), ("txt", caption.encode())):
        member = tarfile.TarInfo(f"{key}.{suffix}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _pictures(tars: Sequence[Path], most: int) -> list[bytes]:
    found: list[bytes] = []
    for tar in tars:
        with tarfile.open(tar) as archive:
            for member in archive:
                if len(found) == most:
                    return found
                content = archive.extractfile(member)
                if content is not None and member.name.endswith(".jpg"):
                    found.append(content.read())
    return found


if __name__ == "__main__":
    asked = tyro.cli(TarsConfig)
    written = make_tars(asked.folder, asked.pairs, asked.per_tar, asked.seed, asked.smallest, asked.largest)
    print(json.dumps(describe_tars(written), indent=2))
