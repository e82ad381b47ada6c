"""Small pictures of the pairs that the report shows, read again from their source."""

import base64
import io

from PIL import Image

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.parquet import PairColumns, ParquetPairs
from isoenergy.pairs.rejection import Rejected

_PIXELS = 96


def thumbnails(uri: str, columns: dict[str, str], places: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Return a data URL for each (file, row) of the source at `uri` that can be read and decoded.

    columns: the source's column names and their roles, as the store's manifest has them.
    """
    names = {role: column for column, role in columns.items()}
    try:
        source = ParquetPairs(uri, PairColumns(**names))
        found = {}
        for file in sorted({file for file, _ in places} & set(source.files)):
            rows = sorted(row for other, row in places if other == file)
            for row, image in source.images(file, rows).items():
                found[file, row] = _data_url(decode_image(image))
    except (InputError, Rejected, OSError):  # the report is worth having without pictures
        return {}
    return found


def _data_url(image: Image.Image) -> str:
    image.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
