"""Pairs from metadata files, such as LAION's: Parquet with URLs, whose images are downloaded as they are read."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.formats.listed import Fetch, fetched, with_images
from isoenergy.pairs.formats.named import each_as_it_is
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.formats.row_groups import Part, bytes_of, text_of
from isoenergy.pairs.inline import is_inline
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source import Format, PairColumns, PairUnit, RawPairs


class UrlPairs(ParquetPairs):
    """A file or a folder of Parquet files with URLs and captions; the URL passes through; see `PairSource`.

    Where the image itself stands in base64 for its URL, null passes through.
    """

    format: ClassVar[Format] = "urls"
    _image_role: ClassVar[str] = "url"

    def __init__(self, uri: str, columns: PairColumns, fetch: Fetch, captions: Captions = EACH_CAPTION) -> None:
        """List the files and check their schemas, as `ParquetPairs` does; `fetch` gets the bytes of URLs."""
        super().__init__(uri, columns, captions, fetch)

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's rows in order; the images of those that follow are downloaded meanwhile."""
        metadata = super().read(unit, rows_per_batch, rows)
        return with_images(((raw, [text_of(url) for url in raw.images]) for raw in metadata), self._fetch_of(unit.file))

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some rows of one file, downloaded again."""
        return fetched({row: text_of(url) for row, url in super().images(file, rows).items()}, self._fetch_of(file))

    def _fetch_of(self, file: str) -> Fetch:
        """What gets the images that one file names."""
        del file
        assert self._fetch is not None
        return each_as_it_is(self._fetch, self._fetch)

    def _found(self, file: str, column: pa.ChunkedArray) -> Sequence[bytes | Rejected | None]:
        """Return what names the images."""
        del file
        return bytes_of(column)

    def _raw(self, file: str, rows: Sequence[int], part: Part) -> RawPairs:
        raw = super()._raw(file, rows, part)
        inline = [is_inline(text_of(name) or "") for name in raw.images]
        place = raw.passed_through.schema.get_field_index(self._image)
        if place < 0 or not any(inline):
            return raw
        column = pc.if_else(pa.array(inline), None, raw.passed_through[self._image])
        return replace(
            raw, passed_through=raw.passed_through.set_column(place, raw.passed_through.field(place), column)
        )

    def _taken(self) -> tuple[str | None, ...]:
        return (self._key, self._caption)
