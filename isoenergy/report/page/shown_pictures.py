"""Small pictures of the pairs that the report shows, read again from their source."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import Any

import pyarrow as pa
from PIL import Image

from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.evaluation.results import CAPTIONS_FILE, EXPLORER_FILE
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.thumbnails import picture_strips, thumbnail, whole_thumbnail
from isoenergy.report.page.sae_drawings import ReadTable
from isoenergy.settings.image_choices import UNRECORDED, ImageReading
from isoenergy.settings.modalities import MODALITIES
from isoenergy.store import EmbeddingStore
from isoenergy.store.picture_columns import GivenImages, SourceRow, given_images

_PIXELS = 96
_MOST_PAIRS = 4000
"""Whose pictures the explorer of the page gets; URLs are downloaded, each once."""
_STRIP_BYTES = 11_000_000
Images = Iterator[tuple[SourceRow, Image.Image]]


class GivenPictures:
    """Pictures of the pairs that a page shows, from where somebody says that they are, and how many were to be had."""

    def __init__(self, images: str, store: Mapping[str, Any]) -> None:
        """Open nothing yet.

        images: a column of the store that holds image files or their URLs, which are downloaded by the rules of
        `isoenergy.pairs.download`; or a folder or zip of image files that are named by a column of paths or by the
        pairs' keys. store: what the evaluation says of it.
        """
        self._place, self._store = images, store
        self._wanted: dict[SourceRow, str] = {}
        self._found: set[SourceRow] = set()
        self._shown: set[SourceRow] = set()

    def data_urls(self, rows: Sequence[Mapping[str, Any]]) -> dict[SourceRow, str]:
        """Return a data URL for each of some pairs whose picture can be had; see `images`."""
        return {place: _data_url(image) for place, image in self.images(rows)}

    def images(self, rows: Sequence[Mapping[str, Any]]) -> Images:
        """Yield the images of some pairs that can be had. rows: file, row and key of each.

        Raises InputError if they can be nowhere, or the store cannot be read.
        """
        wanted = {(row["file"], row["row"]): row["key"] for row in rows}
        files = self._images.files(wanted)
        self._wanted |= wanted
        self._found |= set(files)
        for place, file in files.items():
            with suppress(Rejected):
                image = decode_image(file, reading_of(self._store))
                self._shown.add(place)
                yield place, image

    def counted(self) -> str:
        """Say how many of the pairs have a picture, once the page has asked for all; raises InputError if none has."""
        if not self._wanted:
            return f"--images {self._place} is not used: the pictures of this page, if it has any, are the evaluation's"
        if self._shown:
            return f"pictures of {len(self._shown):,} of the {len(self._wanted):,} pairs shown: --images {self._place}"
        why = f"{counted(len(self._found), 'file')} found, none an image that can be read"
        raise InputError(
            f"--images {self._place} gives a picture of none of the {len(self._wanted):,} pairs shown: "
            f"{why if self._found else self._images.looked_for(self._wanted)}"
        )

    @cached_property
    def _images(self) -> GivenImages:
        return given_images(EmbeddingStore.open(self._store["uri"]), self._place)


def reading_of(store: Mapping[str, Any]) -> ImageReading:
    """Return how images are read of what an evaluation says of its store."""
    return ImageReading(**store["image_reading"]) if "image_reading" in store else UNRECORDED


def with_given_pictures(table: ReadTable, given: GivenPictures) -> ReadTable:
    """Return what reads the tables of an evaluation; the explorer's atoms get pictures where they have none.

    Pictures are read for the strongest atoms, up to some thousand pairs.
    """

    @cache
    def read(name: str) -> pa.Table:
        found = table(name)
        if not name.endswith(f"/{EXPLORER_FILE}") or found["strip"].null_count < len(found):
            return found
        named = table(name.replace(EXPLORER_FILE, CAPTIONS_FILE))
        if "file" not in named.column_names:  # an evaluation of before it said where its pairs are
            return found
        return _pictured(found, named, given.images)

    return read


def _pictured(atoms: pa.Table, named: pa.Table, read: Callable[[Sequence[Mapping[str, Any]]], Images]) -> pa.Table:
    rows = {row["pair"]: row for row in named.to_pylist()}
    wanted: dict[int, Mapping[str, Any]] = {}
    strongest = atoms.sort_by([("energy", "descending")])
    for images, texts in zip(*(strongest[f"{m}_pairs"].to_pylist() for m in MODALITIES), strict=True):
        if len(wanted) >= _MOST_PAIRS:
            break
        wanted |= {pair: rows[pair] for pair in (*images, *texts)}
    found = {place: thumbnail(image) for place, image in read(list(wanted.values()))}
    places = {pair: (row["file"], row["row"]) for pair, row in wanted.items()}
    pictures = {pair: found[place] for pair, place in places.items() if place in found}
    cells, strips = picture_strips([atoms[f"{m}_pairs"].to_pylist() for m in MODALITIES], pictures, _STRIP_BYTES)
    columns = {f"{m}_cells": pa.array(own, pa.list_(pa.int64())) for m, own in zip(MODALITIES, cells, strict=True)}
    for name, column in {**columns, "strip": pa.array(strips, pa.binary())}.items():
        atoms = atoms.set_column(atoms.column_names.index(name), name, column)
    return atoms


def _data_url(image: Image.Image) -> str:
    return "data:image/webp;base64," + base64.b64encode(whole_thumbnail(image, _PIXELS)).decode()
