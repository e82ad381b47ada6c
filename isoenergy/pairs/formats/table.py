"""Pairs from tables of images and captions: CSV, TSV or JSON lines."""

import csv
import io
import json
import posixpath
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.columns import given_column, no_column, usual_column
from isoenergy.pairs.formats.listed import Fetch, Listing, among, fetched, printable, raw_text, read_listed
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.pairs.reach import absolute_source, ending, source_files
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairColumns, PairUnit, RawPairs, cut, place_key
from isoenergy.storage.files import file_digest

SUFFIXES = (".csv", ".tsv", ".jsonl")
_OF_ITS_FOLDER = ("metadata", "captions")
_URL_STARTS = ("http://", "https://")


def tables_among(files: Sequence[str]) -> list[str]:
    """Return the tables among a folder's files: those that say by their name that they are of it, else all."""
    tables = [file for file in files if file.lower().endswith(SUFFIXES)]
    return [file for file in tables if is_of_its_folder(file)] or tables


def is_of_its_folder(file: str) -> bool:
    """Return whether a table says by its name that it is of the images beside it, as Hugging Face's do."""
    return posixpath.splitext(posixpath.basename(file))[0].lower() in _OF_ITS_FOLDER


class TablePairs:
    """CSV, TSV or JSONL files with a column of images and one of captions; see `PairSource`.

    The images are paths, relative to the table's folder or to another, or URLs. Without a key column a pair's key is
    its file and row; all other columns pass through as text. A row that cannot be parsed is a pair, rejected.
    """

    format: ClassVar[Format] = "table"

    def __init__(self, uri: str, columns: PairColumns, fetch: Fetch, images: str = "") -> None:
        """Read the tables. `images`: the folder or zip that paths are relative to; `fetch` gets the images of URLs.

        Raises InputError if there is no table, or one is not readable or lacks a column.
        """
        self.uri = absolute_source(uri)
        self._filesystem, self._root, files, others = source_files(uri, SUFFIXES)
        self.files = tables_among(files) or files
        self._columns, self._fetch = columns, fetch
        self._images = ImageFolder.at(images) if images else None
        self._with_urls: set[str] = set()
        self._rows: dict[str, int] = {}
        self.keys_may_repeat = False
        passed_through: dict[str, None] = {}
        for file in self.files:
            listing, has_keys = self._read(file)
            self._rows[file] = len(listing)
            self.keys_may_repeat |= has_keys
            passed_through |= dict.fromkeys(listing.passed_through.schema.names)
            if next(filter(None, listing.names), "").lower().startswith(_URL_STARTS):
                self._with_urls.add(file)
        self.passed_through = pa.schema([(name, pa.string()) for name in passed_through])
        if not images and len(self._with_urls) < len(self.files):
            others = ending(others, IMAGE_SUFFIXES, False)
        self.beside = Beside.of(self.files, [*others, *sorted(set(files) - set(self.files))])
        if not any(self._rows.values()):
            raise InputError(f"{uri} holds no pairs: there are no rows")

    def file_digest(self, file: str) -> str:
        """Return a digest of the table's size and both its ends."""
        return file_digest(self._filesystem, self._path(file))

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every table into units, in its order."""
        return [unit for file, rows in self._rows.items() for unit in cut(file, rows, rows_per_unit)]

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of all rows."""
        return pa.chunked_array([pa.array(self._read(file)[0].keys, pa.binary())])

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's pairs in order."""
        listing = self._read(unit.file)[0].with_columns(self.passed_through)
        fetch = self._fetch_for(unit.file)
        return read_listed(listing, self._rows[unit.file], fetch, unit, rows_per_batch, rows)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some rows of one table."""
        return fetched(among(self._read(file)[0].names, rows), self._fetch_for(file))

    def _read(self, file: str) -> tuple[Listing, bool]:
        return _listing(self._filesystem, self._path(file), file, self.file_digest(file), self._columns)

    def _fetch_for(self, file: str) -> Fetch:
        if file in self._with_urls:
            return self._fetch
        return (self._images or ImageFolder(self._filesystem, posixpath.dirname(self._path(file)))).fetch

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


@lru_cache(maxsize=2)
def _listing(
    filesystem: AbstractFileSystem, path: str, file: str, digest: str, columns: PairColumns
) -> tuple[Listing, bool]:
    """Return a table and whether it has a column of keys; `digest` makes one that is written again be read again."""
    del digest
    text = filesystem.cat_file(path).decode("utf-8-sig", "surrogateescape")
    if path.lower().endswith(".jsonl"):
        parsed = _json_rows(text)
    else:
        parsed = _csv_rows(text, "\t" if path.lower().endswith(".tsv") else ",", path)
    rows = [row if isinstance(row, dict) else {} for row in parsed]
    bad = {number: Rejected(Reason.UNREADABLE_ROW, row) for number, row in enumerate(parsed) if isinstance(row, str)}
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        return Listing([], [], [], {}, pa.table({})), False
    if not names:
        raise InputError(f"{path} is not a readable table: {bad[0].detail}")
    key = _column(names, "key", columns.key, path, "key")
    image = _column(names, "path", columns.image, path, "image")
    caption = _column(names, "caption", columns.caption, path, "caption")
    if image is None:
        raise no_column(names, "path", path, "image")
    if caption is None:
        raise no_column(names, "caption", path, "caption")
    kept = {name: pa.array([_printed(row.get(name)) for row in rows], pa.string()) for name in names}
    listing = Listing(
        keys=[
            place_key(file, number) if key is None or number in bad else raw_text(_key_text(row.get(key)))
            for number, row in enumerate(rows)
        ],
        names=[_string(row.get(image)) for row in rows],
        captions=[raw_text(_string(row.get(caption))) for row in rows],
        rejections=bad,
        passed_through=pa.table({name: values for name, values in kept.items() if name not in (key, caption)}),
    )
    return listing, key is not None


def _column(names: list[str], role: str, given: str, where: str, option: str) -> str | None:
    if given and names:
        return given_column(names, role, given, where, option)
    return usual_column(names, role)


def _csv_rows(text: str, delimiter: str, path: str) -> list[dict[str, Any] | str]:
    """Return each row, or why it cannot be parsed; the lines after one that cannot are parsed for themselves."""
    lines = list(io.StringIO(text, newline=""))
    rows: list[dict[str, Any] | str] = []
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = [name.strip() or f"column_{place}" for place, name in enumerate(next(reader, []))]
    except csv.Error as error:
        raise InputError(f"{path} is not a readable table: its header is not ({error})") from error
    if len(set(header)) != len(header):
        raise InputError(f"{path} has two columns of one name among {', '.join(header)}; rename one")
    first = reader.line_num
    while first < len(lines):
        reader = csv.reader((lines[line] for line in range(first, len(lines))), delimiter=delimiter, strict=True)
        start = first
        try:
            for cells in reader:
                rows += _csv_row(cells, header, start + 1)
                start = first + reader.line_num
            return rows
        except csv.Error as error:
            rows.append(f"line {start + 1}: {error}")
            first = start + 1
    return rows


def _csv_row(cells: list[str], header: list[str], line: int) -> list[dict[str, Any] | str]:
    if any(cells[len(header) :]):
        return [f"line {line}: {len(cells)} cells, but there are {len(header)} columns"]
    return [dict(zip(header, cells, strict=False))] if cells else []


def _json_rows(text: str) -> list[dict[str, Any] | str]:
    """Return each line's object, or why it is none."""
    rows: list[dict[str, Any] | str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            row = f"{type(error).__name__}: {error}"
        rows.append(row if isinstance(row, dict) else f"line {number}: not a JSON object ({str(row)[:80]})")
    return rows


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _key_text(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(value)


def _printed(value: Any) -> str | None:
    return value if value is None else printable(value) if isinstance(value, str) else json.dumps(value)
