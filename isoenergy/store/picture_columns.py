"""Image files of a store's pairs, from where they are said to be; read for the pairs that are shown, and no others."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.store.reader import EmbeddingStore
from isoenergy.store.schema import stored_names

SourceRow = tuple[str, int]
"""A file of the store's source, and the number of a row in it."""
_TEXTS, _BYTES = ("string", "large_string"), ("binary", "large_binary")
_WEB = ("http://", "https://")
_BATCH = 64
_NAMES_PICTURES = ("image_path", "path", "file_name", "filename")
"""Columns that name image files, whatever their texts look like."""
_LOOKED_AT = 16
"""Shards, for what a column holds."""


class GivenImages(Protocol):
    """Where the image files of a store's pairs are said to be."""

    def files(self, wanted: Mapping[SourceRow, str]) -> Mapping[SourceRow, bytes]:
        """Return the image files of some pairs, those that can be had. wanted: their keys."""
        ...

    def looked_for(self, wanted: Mapping[SourceRow, str]) -> str:
        """Say what was looked for, and what there is, where no file was found."""
        ...


def given_images(store: EmbeddingStore, images: str) -> GivenImages:
    """Return the column of the store, or else the folder or zip, that `images` names.

    Raises InputError if it is neither, or a column of other than image files and URLs.
    """
    if images in columns_of(store):
        return ColumnImages(store, images)
    try:
        return NamedImages(store, ImageFolder.at(images))
    except InputError as error:
        raise InputError(
            f"images must be a column of the store ({', '.join(columns_of(store)) or 'it has none'}), or a folder or "
            f"zip of image files named by a column of paths or by key; got {images!r}"
        ) from error


def columns_of(store: EmbeddingStore) -> dict[str, str]:
    """Return the Arrow type of each column that passed through, by the name that it is stored under."""
    kinds = store.manifest.passed_through
    return dict(zip(stored_names(list(kinds), store.manifest.widths), kinds.values(), strict=True))


class ColumnImages:
    """A column of image files, or of their URLs, which are downloaded by the rules of `isoenergy.pairs.download`."""

    def __init__(self, store: EmbeddingStore, column: str) -> None:
        """Raises InputError for a column of anything else: a store may be anybody's, so its paths are not opened."""
        self._store, self._column = store, column
        kind = columns_of(store)[column]
        if kind not in (*_TEXTS, *_BYTES):
            raise InputError(f"column {column} holds {kind}; pictures are bytes of image files, or their URLs")
        self._has_bytes = kind in _BYTES
        examples = [] if self._has_bytes else _examples(store, column)
        if examples and not any(text.startswith(_WEB) for text in examples):
            raise InputError(_no_urls(column, examples[0]))

    def files(self, wanted: Mapping[SourceRow, str]) -> Mapping[SourceRow, bytes]:
        """See `GivenImages`; a shard without any of the pairs is not read."""
        cells = _cells(self._store, [self._column], wanted)
        values = {place: value for place, (value,) in cells.items() if value}
        if self._has_bytes:
            return values
        places = [place for place, url in values.items() if url.startswith(_WEB)]
        starts = range(0, len(places), _BATCH)
        batches = [[values[place] for place in places[start : start + _BATCH]] for start in starts]
        downloaded = (file for batch in Downloader(DownloadConfig()).fetch(batches) for file in batch)
        return {place: file for place, file in zip(places, downloaded, strict=True) if isinstance(file, bytes)}

    def looked_for(self, wanted: Mapping[SourceRow, str]) -> str:
        """See `GivenImages`."""
        held = "image file" if self._has_bytes else "URL that could be downloaded"
        return f"column {self._column} has no {held} for any, such as that of key {next(iter(wanted.values()))!r}"


class NamedImages:
    """A folder or zip of image files that are named as the pairs are: by a column of paths, or else by their keys."""

    def __init__(self, store: EmbeddingStore, folder: ImageFolder) -> None:
        """Read nothing yet."""
        self._store, self._folder = store, folder

    def files(self, wanted: Mapping[SourceRow, str]) -> Mapping[SourceRow, bytes]:
        """See `GivenImages`; a name without a suffix is tried with those of images. None leaves the folder."""
        found = {}
        for place, names in self._names(wanted).items():
            contents = (self._folder.fetch_named(name) for name in names)
            if (content := next((each for each in contents if each is not None), None)) is not None:
                found[place] = content
        return found

    def looked_for(self, wanted: Mapping[SourceRow, str]) -> str:
        """See `GivenImages`."""
        names = next(iter(self._names(dict(islice(wanted.items(), 1))).values()))
        return (
            f"names were looked for by {', then '.join([*self._naming, 'key'])}, such as "
            f"{' and '.join(map(repr, names))}, and what there is goes by names such as {self._folder.some_name()!r}"
        )

    @cached_property
    def _naming(self) -> list[str]:
        texts = [name for name, kind in columns_of(self._store).items() if kind in _TEXTS]
        known = [name for name in _NAMES_PICTURES if name in texts]
        others = [name for name in texts if name not in known]
        return known + [name for name in others if any(map(_names_image, _examples(self._store, name)))]

    def _names(self, wanted: Mapping[SourceRow, str]) -> dict[SourceRow, list[str]]:
        cells = _cells(self._store, self._naming, wanted) if self._naming else {}
        named = {place: [*cells.get(place, ()), key] for place, key in wanted.items()}
        return {place: [self._below(name) for name in names if name] for place, names in named.items()}

    def _below(self, name: str) -> str:
        """Return an absolute path relative to the folder, if it is of a file below it, or else as one below it."""
        return name.removeprefix(f"{self._folder.root}/").lstrip("/")


def _cells(
    store: EmbeddingStore, columns: list[str], wanted: Collection[SourceRow]
) -> dict[SourceRow, tuple[Any, ...]]:
    by_file: dict[str, list[int]] = {}
    for file, row in sorted(wanted):
        by_file.setdefault(file, []).append(row)
    cells: dict[SourceRow, tuple[Any, ...]] = {}
    for record in store.commits:
        of_file = by_file.get(record.file, [])
        rows = of_file[bisect_left(of_file, record.start) : bisect_left(of_file, record.start + record.rows_in)]
        if not rows:
            continue
        table = store.shards.table(record.shard, ["row", *columns])
        table = table.filter(pc.is_in(table["row"], pa.array(rows, pa.int64())))
        for row, *values in zip(*(table[name].to_pylist() for name in ("row", *columns)), strict=True):
            cells[record.file, row] = tuple(values)
    return cells


def _examples(store: EmbeddingStore, column: str) -> list[str]:
    """Return the texts in a column of the first shard that has any there; none if the first shards have none."""

    def texts() -> Iterator[list[str]]:
        for record in islice((each for each in store.commits if each.pairs_in("all")), _LOOKED_AT):
            yield [text for text in store.shards.table(record.shard, [column])[column].to_pylist() if text]

    return next(filter(None, texts()), [])


def _names_image(text: str) -> bool:
    return text.lower().endswith(IMAGE_SUFFIXES) and not text.startswith(_WEB)


def _no_urls(column: str, example: str) -> str:
    if _names_image(example) or column in _NAMES_PICTURES:
        return (
            f"column {column} holds paths, such as {example[:80]!r}; a store may be anybody's, so they are not opened "
            f"as they are: give --images FOLDER, a folder or zip with files of these names below it"
        )
    return (
        f"column {column} holds texts, such as {example[:80]!r}, and no URLs; give a column of URLs or image files, or "
        f"--images FOLDER, a folder or zip of image files named by key"
    )
