"""The rows of CSV and TSV as they are there: no quote that somebody forgot joins lines, and none is lost."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from isoenergy.errors import InputError
from isoenergy.pairs.columns import NO_KEY, USUAL_NAMES
from isoenergy.pairs.formats.named import is_url
from isoenergy.pairs.inline import LONGEST_TEXT, is_inline
from isoenergy.pairs.kinds import role_of
from isoenergy.pairs.source import PairColumns

_SEPARATORS = (",", "\t", ";", "|")
_EXCEL_SEPARATOR = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
_BLANK = re.compile(r"\s")
_LOOKED_AT = 64  # lines
_MOST_COLUMNS = 10_000
_LONGEST_CELL = 131_072  # csv's own
_LONGEST_RECORD = 131_072  # of several lines
_BY_NAME = {name for role in ("path", "caption", "key") for name in USUAL_NAMES[role]}


def delimited_rows(text: str, path: str, columns: PairColumns) -> list[dict[str, Any] | str]:
    """Return each row by the header's names, or why it cannot be parsed; lines are counted from 1.

    A quoted cell may hold line ends. Where a quote is never closed, or closes only in a later line that is a row by
    itself, TSV is taken as it stands, and of CSV that line is rejected alone; where only some of the lines between are
    rows by themselves, all are rejected. Without a header (columns are given by
    number), columns are named 1, 2, …

    Raises InputError if there is no header that can be read, or it names a column twice.
    """
    lines = _lines(text)
    told = _EXCEL_SEPARATOR.fullmatch(lines[0]) if lines else None
    if told:
        lines[0] = "\n"
    separator = columns.separator or (told[1] if told else _separator(lines, path))
    with _long_cells():
        header, first = _header(lines, separator, path, columns)
        return _Reader(lines, separator, header, _image_place(header, columns)).rows(first)


class _Reader:
    """Reads the lines of one table."""

    def __init__(self, lines: Sequence[str], separator: str, header: Sequence[str], image: int | None) -> None:
        self._lines, self._separator, self._header, self._image = lines, separator, header, image
        self._begin = 0

    def rows(self, first: int) -> list[dict[str, Any] | str]:
        """Return the rows from a line on."""
        rows: list[dict[str, Any] | str] = []
        while first < len(self._lines):
            self._begin = first
            reader = csv.reader(self._from(first), delimiter=self._separator, strict=True)
            try:
                for cells in reader:
                    end = first + reader.line_num
                    others = self._others(cells, end)
                    like_rows = sum(self._is_row(line, cells) for line in others)
                    if like_rows > len(others) / 2 or (like_rows and self._separator == "\t"):
                        raise csv.Error("its quote closes in another line, and a line between is a row by itself")
                    if like_rows:
                        rows += self._unclear(self._begin, end)
                    else:
                        rows += self._row(cells, self._begin)
                    self._begin = end
                return rows
            except csv.Error as error:
                rows += self._alone(self._begin, str(error))
                first = self._begin + 1
        return rows

    def _from(self, first: int) -> Iterator[str]:
        """Yield lines; raises csv.Error where one record takes too many."""
        letters = 0
        for place in range(first, len(self._lines)):
            letters = 0 if place == self._begin else letters + len(self._lines[place])
            if letters > _LONGEST_RECORD:
                raise csv.Error("its quote does not close")
            yield self._lines[place]

    def _others(self, cells: Sequence[str], end: int) -> list[str]:
        """Return the lines of a record but for that in which its own image stands."""
        own = self._begin + sum(cell.count("\n") for cell in cells[: self._image or 0])
        return [self._lines[place] for place in range(self._begin, end) if place != own and self._lines[place].strip()]

    def _is_row(self, line: str, within: Sequence[str]) -> bool:
        """Return whether a line of a record could be a row by itself, by what the record's own image looks like.

        A name with blanks is part of a sentence, unless the record's own has some.
        """
        try:
            cells = next(csv.reader([line], delimiter=self._separator, strict=True), [])
        except csv.Error:
            cells = line.rstrip("\r\n").split(self._separator)
        if len(cells) < len(self._header):
            return False
        if self._separator == "\t":
            return True
        image, own = self._image_of(cells), self._image_of(within)
        if names_an_image(image) or names_an_image(own) or not (image.strip() and own.strip()):
            return names_an_image(image)
        return not _BLANK.search(image) or bool(_BLANK.search(own))

    def _image_of(self, cells: Sequence[str]) -> str:
        return cells[self._image] if self._image is not None and self._image < len(cells) else ""

    def _unclear(self, begin: int, end: int) -> list[dict[str, Any] | str]:
        """Return the lines of a record that is one row or several, each rejected."""
        why = f"lines {begin + 1} to {end} are one row by their quotes, and some of them are rows by themselves"
        return [f"line {place + 1}: {why}" for place in range(begin, end) if self._lines[place].strip()]

    def _alone(self, place: int, why: str) -> list[dict[str, Any] | str]:
        """Return what one line gives that cannot be read as its dialect says."""
        if self._separator == "\t":
            return self._row(self._lines[place].rstrip("\r\n").split("\t"), place)
        return [f"line {place + 1}: {why}"]

    def _row(self, cells: Sequence[str], place: int) -> list[dict[str, Any] | str]:
        line = place + 1
        if any(cells[len(self._header) :]):
            return [f"line {line}: {len(cells)} cells, but there are {len(self._header)} columns"]
        for number, cell in enumerate(cells):
            if len(cell) > _LONGEST_CELL and number != self._image:
                return [f"line {line}: a cell of {len(cell):,} characters, at most {_LONGEST_CELL:,} are read"]
        if self._separator == "|":
            cells = [cell.strip() for cell in cells]
        return [dict(zip(self._header, cells, strict=False))] if cells else []


def _lines(text: str) -> list[str]:
    """Split at the line ends of the kind that the text has most of; others are letters."""
    line_feeds = text.count("\n")
    if text.count("\r") - text.count("\r\n") > line_feeds:
        return [line.replace("\r", "\n") for line in re.findall(r"[^\r]*\r|[^\r]+", text)]
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _separator(lines: Sequence[str], path: str) -> str:
    """Return what is between cells: what the suffix says, unless the header has but one column of it."""
    usual = "\t" if path.lower().endswith(".tsv") else ","
    header = next((line for line in lines if line.strip()), "").strip()
    columns = {separator: _plain_names(header, separator) for separator in _SEPARATORS}
    if len(columns[usual]) > 1:
        return usual
    known = {separator: len(_BY_NAME.intersection(names)) for separator, names in columns.items() if len(names) > 1}
    return max(known, key=lambda separator: (known[separator], len(columns[separator])), default=usual)


def _plain_names(header: str, separator: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in header.split(separator)]


def _header(lines: Sequence[str], separator: str, path: str, columns: PairColumns) -> tuple[list[str], int]:
    """Return the columns' names, and the first line behind them."""
    start = next((place for place, line in enumerate(lines) if line.strip()), len(lines))
    names, taken = _first_record(lines[start:], separator, path)
    given = {name for name in (columns.key, columns.image, columns.caption) if name and name != NO_KEY}
    if given and all(name.isdecimal() for name in given) and not given & {name.strip() for name in names}:
        counts = Counter(len(_cells(line, separator)) for line in lines[start : start + _LOOKED_AT] if line.strip())
        width = max(counts.most_common(1)[0][0] if counts else 0, *map(int, given))
        return [str(place + 1) for place in range(min(width, _MOST_COLUMNS))], start
    header = [name.strip() or f"column_{place}" for place, name in enumerate(names)]
    if len(set(header)) != len(header):
        raise InputError(f"{path} has two columns of one name among {', '.join(header)}; rename one")
    return header, start + taken


def _first_record(lines: Sequence[str], separator: str, path: str) -> tuple[list[str], int]:
    """Return the cells of the first record, and of how many lines it is."""
    reader = csv.reader(iter(lines), delimiter=separator, strict=True)
    try:
        cells = next(reader, [])
    except csv.Error as error:
        if separator == "\t":
            return lines[0].rstrip("\r\n").split("\t"), 1
        raise InputError(f"{path} is not a readable table: its header is not ({error})") from error
    more = [cell for line in lines[1 : reader.line_num] for cell in _cells(line, separator)]
    if any(names_an_image(cell) for cell in more):
        raise InputError(f"{path} is not a readable table: a quote in its header closes in a row further on")
    return cells, reader.line_num


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _image_place(header: Sequence[str], columns: PairColumns) -> int | None:
    name = columns.image or next((n for usual in USUAL_NAMES["path"] for n in header if n.lower() == usual), None)
    return list(header).index(name) if name and name in header else None


def names_an_image(cell: str) -> bool:
    """Return whether a cell says by itself that it is one of an image."""
    return role_of(cell.strip()) == "image" or is_url(cell) or is_inline(cell)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as an image in base64."""
    before = csv.field_size_limit(LONGEST_TEXT)
    try:
        yield
    finally:
        csv.field_size_limit(before)
