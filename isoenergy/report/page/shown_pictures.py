"""Small pictures of the pairs that the report shows, read again from their source."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from PIL import Image

from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.thumbnails import whole_thumbnail
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store import EmbeddingStore
from isoenergy.store.picture_columns import Place, columns_of, image_files, image_folder

_PIXELS = 96


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
    if images in columns_of(opened):
        files: Mapping[Place, bytes | None] = image_files(opened, images, wanted)
    else:
        folder = image_folder(opened, images)
        files = {place: folder.fetch_named(key) for place, key in wanted.items()}
    found = {}
    for place, file in files.items():
        with suppress(Rejected):
            found[place] = _data_url(decode_image(file, reading))
    return found


def _data_url(image: Image.Image) -> str:
    return "data:image/webp;base64," + base64.b64encode(whole_thumbnail(image, _PIXELS)).decode()
