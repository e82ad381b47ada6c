"""Small pictures of pairs, read from where they were embedded from, when somebody looks at them."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from isoenergy.errors import InputError
from isoenergy.explorer.gallery import Gallery
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source import PairSource, SourceConfig
from isoenergy.pairs.thumbnails import whole_thumbnail
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store.picture_columns import GivenImages

PIXELS = 192
_MOST_KEPT = 20_000


class ImageBytes(Protocol):
    """Where the image files of pairs are."""

    def read(self, gallery: Gallery, pairs: Sequence[int]) -> dict[int, bytes]:
        """Return the image files of some pairs; those that cannot be had are left out."""
        ...


class OfSource:
    """The source that the store was embedded from."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config

    @cache  # noqa: B019  # one source a server
    def _source(self) -> PairSource | None:
        try:
            return open_source(self._config, Downloader(DownloadConfig()).fetch)
        except (InputError, OSError):  # the page is worth having without pictures
            return None

    def read(self, gallery: Gallery, pairs: Sequence[int]) -> dict[int, bytes]:
        """See `ImageBytes`; each file is read once."""
        source = self._source()
        if source is None:
            return {}
        table = gallery.pairs.select(["file", "row"]).take(list(pairs)).to_pydict()
        files: dict[str, dict[int, list[int]]] = {}
        for pair, file, row in zip(pairs, table["file"], table["row"], strict=True):
            files.setdefault(gallery.files[file], {}).setdefault(row, []).append(pair)
        found: dict[int, bytes] = {}
        for file, rows in files.items():
            try:
                images = source.images(file, sorted(rows))
            except (InputError, OSError, KeyError):
                continue
            found |= {pair: raw for row, raw in images.items() if raw is not None for pair in rows[row]}
        return found


class OfStore:
    """Where somebody says that the files of the store's pairs are; URLs are downloaded when somebody looks at them."""

    def __init__(self, images: GivenImages) -> None:
        """Read nothing yet."""
        self._images = images

    def read(self, gallery: Gallery, pairs: Sequence[int]) -> dict[int, bytes]:
        """See `ImageBytes`."""
        table = gallery.pairs.select(["file", "row", "key"]).take(list(pairs)).to_pydict()
        places = [(gallery.files[file], row) for file, row in zip(table["file"], table["row"], strict=True)]
        try:
            found = self._images.files(dict(zip(places, table["key"], strict=True)))
        except InputError:  # the page is worth having without pictures
            return {}
        return {pair: found[place] for pair, place in zip(pairs, places, strict=True) if place in found}


class Pictures:
    """Thumbnails as WebP of at most 192 × 192 pixels, the latest of which are kept."""

    def __init__(self, gallery: Gallery, images: ImageBytes | None, reading: ImageReading) -> None:
        self._gallery, self._images, self._reading = gallery, images, reading
        self._kept: OrderedDict[int, bytes | None] = OrderedDict()
        self._lock, self._reads = threading.Lock(), threading.Lock()

    @property
    def there(self) -> bool:
        """Whether there is anything to read pictures from."""
        return self._images is not None

    def of(self, pairs: Sequence[int]) -> dict[int, bytes | None]:
        """Return the thumbnails of some pairs; None of those whose image cannot be had or decoded now."""
        if self._images is None:
            return dict.fromkeys(pairs)
        with self._reads:  # sources are read by one at a time
            with self._lock:
                lacking = [pair for pair in dict.fromkeys(pairs) if pair not in self._kept]
            if lacking:
                files = self._images.read(self._gallery, lacking)
                made = {pair: self._thumbnail(files.get(pair)) for pair in lacking}
                with self._lock:
                    self._kept |= made
            with self._lock:
                found = {pair: self._kept[pair] for pair in pairs}
                for pair in found:
                    self._kept.move_to_end(pair)
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
        return found

    def _thumbnail(self, raw: bytes | None) -> bytes | None:
        try:
            return whole_thumbnail(decode_image(raw, self._reading), PIXELS)
        except Rejected:
            return None
