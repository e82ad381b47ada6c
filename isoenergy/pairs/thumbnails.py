"""Small square pictures of pairs, read again from their source, and strips of them."""

import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from typing import NamedTuple

from PIL import Image, ImageOps

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source import PairSource, PairUnit, SourceConfig
from isoenergy.pairs.source_names import is_pattern
from isoenergy.settings.image_choices import ImageReading

PIXELS = 64
_QUALITY = 95
"""Of JPEG, which is written in a fifth of WebP's time; strips have as many bytes whichever they are made of."""
_WHOLE_QUALITY = 80
_STRIP_QUALITY = 44
"""Of AVIF, which takes two thirds of WebP's bytes for so small a picture."""
_SAMPLED_STRIPS = 32
_AT_ONCE = 64
_FILES_ARE_SOURCES = ("parquet", "urls", "webdataset")


class StripForm(NamedTuple):
    """How thumbnails are put side by side."""

    pixels: int
    """Their width and height."""
    speed: int
    """Of the AVIF encoder: at 10 a strip takes a fifth of the time that it takes at 8, and a fifth more bytes."""


_FORMS = (StripForm(PIXELS, 10), *(StripForm(pixels, 8) for pixels in (PIXELS, 56, 48, 40, 36, 32, 28, 24)))


def read_thumbnails(
    source: SourceConfig, wanted: Mapping[str, Collection[int]], reading: ImageReading
) -> dict[tuple[str, int], bytes]:
    """Return the thumbnail of each file and row that can be read and decoded.

    reading: how the images are read, as they were for their embeddings.
    Each file is read once, in order, a few images at a time. A file that cannot be opened or read now, and an image
    that is not one or too large (see `isoenergy.pairs.decoding`), have no thumbnail.
    """
    fetch = Downloader(DownloadConfig()).fetch

    @cache
    def opened(config: SourceConfig) -> PairSource:
        return open_source(config, fetch)

    found: dict[tuple[str, int], bytes] = {}
    for file, rows in wanted.items():
        unit = PairUnit(file, min(rows), max(rows) + 1)
        with suppress(InputError, OSError):
            for raw in opened(_narrowed(source, file)).read(unit, _AT_ONCE, rows):
                for row, image in zip(raw.rows, raw.images, strict=True):
                    with suppress(Rejected):
                        found[file, row] = thumbnail(decode_image(image, reading))
    return found


def thumbnail(image: Image.Image) -> bytes:
    """Return a JPEG of PIXELS × PIXELS, cut from the middle."""
    return _saved(ImageOps.fit(image, (PIXELS, PIXELS), Image.Resampling.LANCZOS), "JPEG", _QUALITY)


def whole_thumbnail(image: Image.Image, pixels: int) -> bytes:
    """Return all of an image, which is made smaller in place, as a WebP of at most `pixels` × `pixels`."""
    image.thumbnail((pixels, pixels))
    return _saved(image, "WEBP", _WHOLE_QUALITY)


def strip(pictures: Sequence[bytes], form: StripForm) -> bytes:
    """Return thumbnails side by side as one AVIF."""
    pixels = form.pixels
    joined = Image.new("RGB", (pixels * len(pictures), pixels))
    for place, picture in enumerate(pictures):
        joined.paste(_resized(picture, pixels), (place * pixels, 0))
    buffer = io.BytesIO()
    joined.save(buffer, "AVIF", quality=_STRIP_QUALITY, speed=form.speed, max_threads=1)  # more give other bytes
    return buffer.getvalue()


def fitting_form(samples: Sequence[Sequence[bytes]], thumbnails: int, most_bytes: int) -> StripForm:
    """Return the form in which, in strips like the `samples`, so many thumbnails take at most `most_bytes`.

    Of those that fit it is the largest, and the soonest made; where none fits, the smallest.
    """
    share = thumbnails / max(sum(map(len, samples)), 1)

    def fits(form: StripForm) -> bool:
        return share * sum(len(strip(pictures, form)) for pictures in samples) <= most_bytes

    return next(filter(fits, _FORMS), _FORMS[-1])


def picture_strips(
    pairs: Sequence[Sequence[Sequence[int]]], pictures: Mapping[int, bytes], most_bytes: int
) -> tuple[list[list[list[int]]], list[bytes | None]]:
    """Return the cell of each of the atoms' pairs, by modality (-1: it has no picture), and the strip of each atom.

    pairs: the strongest of each atom, by modality. pictures: thumbnails, by pair.
    A pair that stands in both lists of an atom has one cell. Thumbnails are as large as their number allows.
    """
    cells: list[list[list[int]]] = [[] for _ in pairs]
    chosen: list[list[bytes]] = []
    for lists in zip(*pairs, strict=True):
        own: dict[int, int] = {}
        for in_strip, its in zip(cells, lists, strict=True):
            in_strip.append([own.setdefault(pair, len(own)) if pair in pictures else -1 for pair in its])
        chosen.append([pictures[pair] for pair in own])
    samples = [own for own in chosen[:: max(1, len(chosen) // _SAMPLED_STRIPS)] if own]
    form = fitting_form(samples, sum(map(len, chosen)), most_bytes)
    strips = [strip(own, form) if own else None for own in chosen]
    _resized.cache_clear()
    return cells, strips


@lru_cache(maxsize=4096)  # an atom's pictures are other atoms' too; 50 MB
def _resized(picture: bytes, pixels: int) -> Image.Image:
    with Image.open(io.BytesIO(picture), formats=("JPEG",)) as image:
        return image.resize((pixels, pixels), Image.Resampling.LANCZOS)


def _narrowed(source: SourceConfig, file: str) -> SourceConfig:
    """Return the file as a source of its own, where it can be one: thousands need not be listed to read one."""
    is_folder = not is_pattern(source.uri) and not f"/{source.uri}".endswith(f"/{file}")
    alone = source.format in _FILES_ARE_SOURCES and is_folder
    return replace(source, uri=f"{source.uri.rstrip('/')}/{file}") if alone else source


def _saved(image: Image.Image, kind: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return buffer.getvalue()
