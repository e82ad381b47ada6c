"""Small pictures of the pairs that the report shows, read again from their source."""

import base64
import io
from contextlib import suppress
from typing import Any

from PIL import Image

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source import PairColumns, SourceConfig
from isoenergy.settings.image_choices import ImageReading

_PIXELS = 96


def thumbnails(
    source_config: dict[str, Any], places: set[tuple[str, int]], reading: ImageReading
) -> dict[tuple[str, int], str]:
    """Return a data URL for each (file, row) that can be read and decoded.

    source_config: the fields of a `SourceConfig`, as an evaluation has them. reading: how the images were read.
    """
    columns = PairColumns(**source_config["columns"])
    try:
        source = open_source(SourceConfig(**source_config | {"columns": columns}), Downloader(DownloadConfig()).fetch)
        found = {}
        for file in sorted({file for file, _ in places} & set(source.files)):
            rows = sorted(row for other, row in places if other == file)
            for row, image in source.images(file, rows).items():
                with suppress(Rejected):
                    found[file, row] = _data_url(decode_image(image, reading))
    except (InputError, OSError):  # the report is worth having without pictures
        return {}
    return found


def _data_url(image: Image.Image) -> str:
    image.thumbnail((_PIXELS, _PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
