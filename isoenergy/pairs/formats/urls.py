"""Pairs from metadata files, such as LAION's: Parquet with URLs, whose images are downloaded as they are read."""

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.formats.listed import Fetch, fetched, with_images
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.source import Format, PairColumns, PairUnit, RawPairs


class UrlPairs(ParquetPairs):
    """A file or a folder of Parquet files with URLs and captions; the URL passes through; see `PairSource`."""

    format: ClassVar[Format] = "urls"
    _image_role: ClassVar[str] = "url"

    def __init__(self, uri: str, columns: PairColumns, fetch: Fetch, captions: Captions = EACH_CAPTION) -> None:
        """List the files and check their schemas, as `ParquetPairs` does; `fetch` gets the bytes of URLs."""
        super().__init__(uri, columns, captions)
        self._fetch = fetch

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's rows in order; the images of those that follow are downloaded meanwhile."""
        metadata = super().read(unit, rows_per_batch, rows)
        return with_images(((raw, [_text(url) for url in raw.images]) for raw in metadata), self._fetch_of(unit.file))

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some rows of one file, downloaded again."""
        return fetched({row: _text(url) for row, url in super().images(file, rows).items()}, self._fetch_of(file))

    def _fetch_of(self, file: str) -> Fetch:
        """What gets the images that one file names."""
        del file
        return self._fetch

    def _taken(self) -> tuple[str | None, ...]:
        return (self._key, self._caption)


def _text(url: bytes | None) -> str | None:
    return None if url is None else url.decode("utf-8", "surrogateescape")
