"""A store's column of image files, or of their URLs: read for the pairs that are shown, and no others."""

from collections.abc import Collection, Mapping
from typing import Any

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.store.reader import EmbeddingStore
from isoenergy.store.schema import stored_names

SourceRow = tuple[str, int]
"""A file of the store's source, and the number of a row in it."""
_TEXTS, _BYTES = ("string", "large_string"), ("binary", "large_binary")
_WEB = ("http://", "https://")
_BATCH = 64


def columns_of(store: EmbeddingStore) -> dict[str, str]:
    """Return the Arrow type of each column that passed through, by the name that it is stored under."""
    kinds = store.manifest.passed_through
    return dict(zip(stored_names(list(kinds), store.manifest.widths), kinds.values(), strict=True))


def image_folder(store: EmbeddingStore, images: str) -> ImageFolder:
    """Return the folder or zip of image files at `images`, which names no column. Raises InputError if it is none."""
    try:
        return ImageFolder.at(images)
    except InputError as error:
        raise InputError(
            f"images must be a column of the store ({', '.join(columns_of(store)) or 'it has none'}), or a folder or "
            f"zip of image files named by key; got {images!r}"
        ) from error


def image_files(store: EmbeddingStore, column: str, wanted: Collection[SourceRow]) -> Mapping[SourceRow, bytes]:
    """Return the image files of some pairs, those that can be had; a shard without any of them is not read.

    Where the column has URLs, these are downloaded by the rules of `isoenergy.pairs.download`.
    Raises InputError for a column of anything else.
    """
    kind = columns_of(store)[column]
    if kind not in (*_TEXTS, *_BYTES):
        raise InputError(f"column {column} holds {kind}; pictures are bytes of image files, or their URLs")
    by_file: dict[str, set[int]] = {}
    for file, row in wanted:
        by_file.setdefault(file, set()).add(row)
    values: dict[SourceRow, Any] = {}
    for record in store.commits:
        rows = by_file.get(record.file, set())
        if not any(record.start <= row < record.start + record.rows_in for row in rows):
            continue
        table = store.shards.table(record.shard, ["row", column])
        for row, value in zip(table["row"].to_pylist(), table[column].to_pylist(), strict=True):
            if row in rows and value:
                values[record.file, row] = value
    if kind in _BYTES:
        return values
    places = [place for place, url in values.items() if url.startswith(_WEB)]
    batches = [[values[place] for place in places[start : start + _BATCH]] for start in range(0, len(places), _BATCH)]
    downloaded = (file for batch in Downloader(DownloadConfig()).fetch(batches) for file in batch)
    return {place: file for place, file in zip(places, downloaded, strict=True) if isinstance(file, bytes)}
