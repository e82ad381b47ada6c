"""Pairs from Parquet files that name their images: by paths, as Hugging Face's `metadata.parquet`, or in base64."""

from typing import ClassVar

from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.formats.listed import Fetch
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.formats.row_groups import text_of
from isoenergy.pairs.formats.urls import UrlPairs
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.inline import is_inline
from isoenergy.pairs.source import Format, PairColumns

_LOOKED_AT = 16


class PathPairs(UrlPairs):
    """Parquet files with paths of images, relative to each file's folder or to another, or base64; see `PairSource`.

    A path or URL passes through, base64 does not: if the first values have any, the column does not, else it is null
    in such a row.
    """

    format: ClassVar[Format] = "paths"
    _image_role: ClassVar[str] = "path"

    def __init__(
        self, uri: str, columns: PairColumns, fetch: Fetch, images: str = "", captions: Captions = EACH_CAPTION
    ) -> None:
        """List the files and check their schemas; `images`: the folder or zip that paths are relative to."""
        super().__init__(uri, columns, fetch, captions)
        self._images = ImageFolder.at(images) if images else None
        if any(is_inline(name) for name in self._first_names()):
            self.passed_through = self.passed_through.remove(self.passed_through.get_field_index(self._image))

    def _first_names(self) -> list[str]:
        """Return the first names of the first file that has any."""
        for file in self.files:
            values = ParquetPairs.images(self, file, range(_LOOKED_AT)).values()
            if names := [name for name in map(text_of, values) if name]:
                return names
        return []

    def _fetch_of(self, file: str) -> Fetch:
        return ParquetPairs._fetch_of(self, file)
