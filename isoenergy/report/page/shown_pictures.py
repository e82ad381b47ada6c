"""Small pictures of the pairs that the report shows, read again from their source."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import Image

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.thumbnails import whole_thumbnail
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store import EmbeddingStore
from isoenergy.store.schema import stored_names

_PIXELS = 96
_TEXTS, _BYTES = ("string", "large_string"), ("binary", "large_binary")
_WEB = ("http://", "https://")
_BATCH = 64


def given_pictures(
    images: str, store: str, rows: Sequence[Mapping[str, Any]], reading: ImageReading
) -> dict[tuple[str, int], str]:
    """Return a data URL for each pair of `rows`, which have file, row and key, whose picture can be had.

    images: a column of the store that holds image files or their URLs, which are downloaded by the rules of
    `isoenergy.pairs.download`; or a folder or zip of image files that are named by the pairs' keys. store: its place.
    Raises InputError if it is neither, or the store cannot be read.
    """
    wanted = {(row["file"], row["row"]): row["key"] for row in rows}
    opened = EmbeddingStore.open(store)
    kinds = opened.manifest.passed_through
    columns = dict(zip(stored_names(list(kinds), opened.manifest.widths), kinds.values(), strict=True))
    if images in columns:
        files: Mapping[tuple[str, int], bytes | None] = _in_column(opened, images, columns[images], set(wanted))
    else:
        folder = _folder(images, columns)
        files = {place: folder.fetch_named(key) for place, key in wanted.items()}
    found = {}
    for place, file in files.items():
        with suppress(Rejected):
            found[place] = _data_url(decode_image(file, reading))
    return found


def _folder(images: str, columns: Mapping[str, str]) -> ImageFolder:
    try:
        return ImageFolder.at(images)
    except InputError as error:
        raise InputError(
            f"images must be a column of the store ({', '.join(columns) or 'it has none'}), or a folder or zip of "
            f"image files named by key; got {images!r}"
        ) from error


def _in_column(
    store: EmbeddingStore, name: str, kind: str, wanted: set[tuple[str, int]]
) -> dict[tuple[str, int], bytes]:
    """Return the image files of some pairs, those that are there; a shard without any of them is not read."""
    if kind not in (*_TEXTS, *_BYTES):
        raise InputError(f"column {name} holds {kind}; pictures are bytes of image files, or their URLs")
    values: dict[tuple[str, int], Any] = {}
    for record in store.commits:
        if not any(file == record.file and record.start <= row < record.start + record.rows_in for file, row in wanted):
            continue
        table = store.shards.table(record.shard, ["row", name])
        for row, value in zip(table["row"].to_pylist(), table[name].to_pylist(), strict=True):
            if (record.file, row) in wanted and value:
                values[record.file, row] = value
    if kind in _BYTES:
        return values
    places = [place for place, url in values.items() if url.startswith(_WEB)]
    batches = [[values[place] for place in places[start : start + _BATCH]] for start in range(0, len(places), _BATCH)]
    downloaded = (file for batch in Downloader(DownloadConfig()).fetch(batches) for file in batch)
    return {place: file for place, file in zip(places, downloaded, strict=True) if isinstance(file, bytes)}


def _data_url(image: Image.Image) -> str:
    return "data:image/webp;base64," + base64.b64encode(whole_thumbnail(image, _PIXELS)).decode()
