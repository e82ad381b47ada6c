"""Pairs from Parquet files that name their images: by paths, as Hugging Face's `metadata.parquet`, or in base64."""

import posixpath
from typing import ClassVar

from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.formats.listed import Fetch
from isoenergy.pairs.formats.table import with_inline
from isoenergy.pairs.formats.urls import UrlPairs
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.inline import is_inline
from isoenergy.pairs.source import Format, PairColumns

_LOOKED_AT = 16


class PathPairs(UrlPairs):
    """Parquet files with paths of images, relative to each file's folder or to another, or base64; see `PairSource`.

    A path passes through, base64 does not.
    """

    format: ClassVar[Format] = "paths"
    _image_role: ClassVar[str] = "path"

    def __init__(
        self, uri: str, columns: PairColumns, fetch: Fetch, images: str = "", captions: Captions = EACH_CAPTION
    ) -> None:
        """List the files and check their schemas; `images`: the folder or zip that paths are relative to."""
        super().__init__(uri, columns, fetch, captions)
        self._images = ImageFolder.at(images) if images else None
        if self._holds_base64():
            self.passed_through = self.passed_through.remove(self.passed_through.get_field_index(self._image))

    def _holds_base64(self) -> bool:
        for file, rows in self._file_rows.items():
            for _, part in self._parts(file, range(min(rows or 0, _LOOKED_AT)), _LOOKED_AT, [self._image]):
                values = [] if isinstance(part, str) else [value for value in part[self._image].to_pylist() if value]
                if values:
                    return is_inline(values[0])
        return False

    def _fetch_of(self, file: str) -> Fetch:
        return with_inline((self._images or ImageFolder(self._filesystem, posixpath.dirname(self._path(file)))).fetch)
