"""Pairs from tables of images and captions: CSV, TSV, JSON lines or a JSON array."""

import codecs
import json
import posixpath
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.captions import EACH_CAPTION, Captions, texts_of
from isoenergy.pairs.columns import NO_KEY, given_column, no_column, usual_column
from isoenergy.pairs.formats.delimited import delimited_rows, names_an_image
from isoenergy.pairs.formats.json_rows import json_rows
from isoenergy.pairs.formats.listed import Fetch, Listing, among, fetched, printable, raw_text, read_listed
from isoenergy.pairs.formats.named import each_as_it_is, is_path
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.inline import is_inline
from isoenergy.pairs.kinds import IMAGE_SUFFIXES, other_kind
from isoenergy.pairs.places import absolute_source, ending
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairColumns, PairUnit, RawPairs, cut, place_key
from isoenergy.pairs.source_files import source_files
from isoenergy.storage.files import file_digest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_AS_TABLES_BEGIN = ("text", "markup", "empty", "zeros")  # as `other_kind` calls them
_OF_ITS_FOLDER = ("metadata", "captions")


def tables_among(files: Sequence[str]) -> list[str]:
    """Return the tables among a folder's files: those that say by their name that they are of it, else all."""
    tables = [file for file in files if file.lower().endswith(SUFFIXES)]
    return [file for file in tables if is_of_its_folder(file)] or tables


def is_of_its_folder(file: str) -> bool:
    """Return whether a table says by its name that it is of the images beside it, as Hugging Face's do."""
    return posixpath.splitext(posixpath.basename(file))[0].lower() in _OF_ITS_FOLDER


class TablePairs:
    """CSV, TSV or JSON with a column of images and one of captions; see `PairSource`.

    Each image is a path, relative to the table's folder or to another, a URL, or base64. Without a key column a pair's
    key is its file and row; all other columns pass through as text. A row that cannot be parsed is a pair, rejected.
    """

    format: ClassVar[Format] = "table"

    def __init__(
        self, uri: str, columns: PairColumns, fetch: Fetch, images: str = "", captions: Captions = EACH_CAPTION
    ) -> None:
        """Read the tables. `images`: the folder or zip that paths are relative to; `fetch` gets the images of URLs.

        Raises InputError if there is no table, or one is not readable or lacks a column.
        """
        self.uri = absolute_source(uri)
        self._filesystem, self._root, files, others = source_files(uri, (*SUFFIXES, ".json"))
        self.files = tables_among(files) or files
        self._columns, self._captions, self._fetch = columns, captions, fetch
        self._images = ImageFolder.at(images) if images else None
        self._rows: dict[str, int] = {}
        self.keys_may_repeat = False
        passed_through: dict[str, None] = {}
        with_paths = False
        for file in self.files:
            listing, has_keys = self._read(file)
            self._rows[file] = len(listing)
            self.keys_may_repeat |= has_keys
            passed_through |= dict.fromkeys(listing.passed_through.schema.names)
            with_paths |= any(map(is_path, filter(None, listing.names)))
        self.passed_through = pa.schema([(name, pa.string()) for name in passed_through])
        if not images and with_paths:
            others = ending(others, IMAGE_SUFFIXES, False)
        self.beside = Beside.of(self.files, [*others, *sorted(set(files) - set(self.files))])
        if not any(self._rows.values()):
            raise InputError(f"{uri} holds no pairs: there are no rows")

    def file_digest(self, file: str) -> str:
        """Return a digest of the table's size and both its ends."""
        return file_digest(self._filesystem, self._path(file))

    def listed_tags(self) -> dict[str, str]:
        """Return none: there are few files."""
        return {}

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every table into units, in its order."""
        return [unit for file, rows in self._rows.items() for unit in cut(file, rows, rows_per_unit)]

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of all rows."""
        return pa.chunked_array([pa.array(self._read(file)[0].keys, pa.binary())])

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's pairs in order."""
        listing = self._read(unit.file)[0].with_columns(self.passed_through)
        return read_listed(listing, self._rows[unit.file], self._fetch_of(unit.file), unit, rows_per_batch, rows)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some rows of one table."""
        return fetched(among(self._read(file)[0].names, rows), self._fetch_of(file))

    def _read(self, file: str) -> tuple[Listing, bool]:
        digest = self.file_digest(file)
        return _listing(self._filesystem, self._path(file), file, digest, self._columns, self._captions)

    def _fetch_of(self, file: str) -> Fetch:
        images = self._images or ImageFolder(self._filesystem, posixpath.dirname(self._path(file)))
        return each_as_it_is(self._fetch, images.fetch)

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


@lru_cache(maxsize=2)
def _listing(
    filesystem: AbstractFileSystem, path: str, file: str, digest: str, columns: PairColumns, captions: Captions
) -> tuple[Listing, bool]:
    """Return a table and whether it has a column of keys; `digest` makes one that is written again be read again."""
    del digest
    text = decoded_table(filesystem.cat_file(path), path)
    is_json = path.lower().endswith(JSON_SUFFIXES)
    parsed = json_rows(text, path) if is_json else delimited_rows(text, path, columns)
    rows = [row if isinstance(row, dict) else {} for row in parsed]
    bad = {number: Rejected(Reason.UNREADABLE_ROW, row) for number, row in enumerate(parsed) if isinstance(row, str)}
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        return Listing([], [], [], {}, pa.table({})), False
    if not names:
        why = next((rejected.detail for rejected in bad.values()), "its objects are empty")
        raise InputError(f"{path} is not a readable table: {why}")
    key = None if columns.key == NO_KEY else _column(names, "key", columns.key, path, "key")
    image = _column(names, "path", columns.image, path, "image")
    caption = _column(names, "caption", columns.caption, path, "caption")
    if (image is None or caption is None) and any(map(names_an_image, names)):
        raise _no_header(names, path)
    if image is None:
        raise no_column(names, "path", path, "image")
    if caption is None:
        raise no_column(names, "caption", path, "caption")
    keys, texts, places = [], [], []
    for number, row in enumerate(rows):
        own = place_key(file, number) if key is None or number in bad else raw_text(_key_text(row.get(key)))
        for pair_key, text_of_pair in captions.chosen(own, texts_of(row.get(caption))):
            keys.append(pair_key)
            texts.append(raw_text(text_of_pair))
            places.append(number)
    named = [None if place in bad else _name(rows[place].get(image)) for place in places]
    images = [None if isinstance(name, Rejected) else name for name in named]
    inline = image if any(name and is_inline(name) for name in images) else None
    kept = [name for name in names if name not in (key, caption, inline)]
    columns_kept = [pa.array([_printed(rows[place].get(name)) for place in places], pa.string()) for name in kept]
    listing = Listing(
        keys=keys,
        names=images,
        captions=texts,
        rejections={pair: bad[place] for pair, place in enumerate(places) if place in bad}
        | {pair: name for pair, name in enumerate(named) if isinstance(name, Rejected)},
        passed_through=pa.table(columns_kept, _once(kept)),
    )
    return listing, key is not None


def _no_header(names: Sequence[str], path: str) -> InputError:
    """Return the error of a table whose first line names an image."""
    image = next(number for number, name in enumerate(names, start=1) if names_an_image(name))
    others = [number for number in range(1, len(names) + 1) if number != image]
    caption = max(others, key=lambda number: len(names[number - 1]), default=image + 1)
    return InputError(
        f"{path} has no header: its first line is a row, {names[image - 1][:80]!r}; name columns by their numbers: "
        f"--columns.image {image} --columns.caption {caption}"
    )


def decoded_table(content: bytes, path: str) -> str:
    """Return a text in UTF-8 whose other bytes are escaped, or in UTF-16 if it begins as Excel's "Unicode text".

    Raises InputError for what its beginning says is another kind of file, as a zip or a pointer of Git LFS.
    """
    what = other_kind(content)
    if what and not what.startswith(_AS_TABLES_BEGIN):
        raise InputError(f"{path} is not a readable table: it is {what}")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def _once(names: Sequence[str]) -> list[str]:
    """Return names that Arrow can hold, each once."""
    taken: dict[str, None] = {}
    for name in map(printable, names):
        unlike, number = name, 2
        while unlike in taken:
            unlike, number = f"{name}_{number}", number + 1
        taken[unlike] = None
    return list(taken)


def _column(names: list[str], role: str, given: str, where: str, option: str) -> str | None:
    if given and names:
        return given_column(names, role, given, where, option)
    return usual_column(names, role)


def _name(value: Any) -> str | Rejected | None:
    """Return what names an image, also where Hugging Face's record of `bytes` and `path` or a list of one does."""
    if isinstance(value, list) and len(value) > 1:
        return Rejected(Reason.MISSING_IMAGE, f"{len(value)} images are named, and a pair has one")
    if isinstance(value, list) and value:
        return _name(value[0])
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None or isinstance(value, str):
        return value and value.strip()
    return Rejected(Reason.MISSING_IMAGE, f"{str(value)[:80]!r} names no image")


def _key_text(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(value)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _printed(value: Any) -> str | None:
    return value if value is None else printable(value) if isinstance(value, str) else json.dumps(value)
