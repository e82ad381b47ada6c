"""Pairs from Parquet files that hold the image bytes."""

import posixpath
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.captions import EACH_CAPTION, Captions
from isoenergy.pairs.columns import NO_KEY, given_column, no_column, usual_column
from isoenergy.pairs.formats.listed import Fetch, raw_text
from isoenergy.pairs.formats.named import each_as_it_is
from isoenergy.pairs.formats.row_groups import (
    SPOILT,
    Part,
    bytes_of,
    counts_of_captions,
    open_parquet,
    read_group,
    text_of,
    texts_in,
)
from isoenergy.pairs.formats.schemas import ROLES, common_schema, conformed, plain_schema
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.inline import LOOKED_AT, decoded, is_inline
from isoenergy.pairs.kinds import HEAD_BYTES, OTHER_HEAD_BYTES, image_kind, other_kind
from isoenergy.pairs.places import absolute_source, listed_tags
from isoenergy.pairs.reach import Unreachable, open_file
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairColumns, PairUnit, RawPairs, cut, full_batches, place_key
from isoenergy.pairs.source_files import source_files
from isoenergy.storage.files import tagged_digest

SUFFIX = ".parquet"
SUFFIXES = (SUFFIX, ".pq")
_SHOWN = {"captions": "caption"}
_FOOTERS_AT_ONCE = 32
_IMAGES_AT_ONCE = 64
_KEYS_AT_ONCE = 2**16


class ParquetPairs:
    """A file or a folder of Parquet files with image bytes, on any filesystem that fsspec opens; see `PairSource`.

    The images are bytes, these in base64, or Hugging Face's structs of bytes and path; where such a struct has no
    bytes, its path names the image, as in `PathPairs`. Without a key column, a pair's key is its file and row. A file
    without a readable footer is one pair, rejected; so is every row that cannot be read.
    """

    format: ClassVar[Format] = "parquet"
    _what: ClassVar[str] = "Parquet"
    _image_role: ClassVar[str] = "image"
    _suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(
        self,
        uri: str,
        columns: PairColumns,
        captions: Captions = EACH_CAPTION,
        fetch: Fetch | None = None,
        images: str = "",
    ) -> None:
        """List the files and check their schemas; no rows are read.

        fetch: gets the images of URLs. images: the folder or zip that paths are relative to; else each file's folder.
        Raises InputError for a missing or empty source, one without a readable file, files with different columns, or
        a column that is not there.
        """
        self.uri = absolute_source(uri)
        self._filesystem, self._root, files, others = source_files(uri, self._suffixes)
        self.files = list(filter(self._is_wanted, files)) or files
        self.beside = Beside.of(self.files, others)
        self._file_rows, schemas = self._read_footers(uri)
        self.rows = dict(self._file_rows)
        self._schema = common_schema(schemas)
        self._choose_columns(uri, columns, schemas)
        self._captions = captions
        self._fetch = fetch
        self._images = ImageFolder.at(images) if images else None
        if images and not self._names_images:
            raise InputError(f"{uri} has its images in itself; leave out --images")
        kind = self._schema.field(self._caption).type
        self._has_lists = not (pa.types.is_string(kind) or pa.types.is_binary(kind))
        if self._has_lists and captions.choice == "all":
            self._count_captions()
        taken = self._taken()
        self.passed_through = pa.schema([field for field in self._schema if field.name not in taken])
        self.keys_may_repeat = self._key is not None

    def _read_footers(self, uri: str) -> tuple[dict[str, int | None], dict[pa.Schema, str]]:
        """Return each file's rows, None of one that cannot be read, and for each schema the first file that has it."""
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            footers = dict(zip(self.files, pool.map(self._footer, self.files), strict=True))
        rows = {file: footer[0] if isinstance(footer, tuple) else None for file, footer in footers.items()}
        schemas = {footer[1]: file for file, footer in reversed(footers.items()) if isinstance(footer, tuple)}
        if not schemas:
            raise InputError(
                f"{uri} holds no readable {self._what} file: {self._fault(self.files[0], footers[self.files[0]])}"
            )
        if not any(count is None or count for count in rows.values()):
            raise InputError(f"{uri} holds no pairs: its {len(self.files)} {self._what} files have no rows")
        return rows, dict(reversed(schemas.items()))

    def _choose_columns(self, uri: str, columns: PairColumns, schemas: Mapping[pa.Schema, str]) -> None:
        """Settle which columns are key, image and caption; every file must have them."""
        incomplete = {name for schema in schemas for name in set(self._schema.names) - set(schema.names)}
        self._key = None if columns.key == NO_KEY else self._column("key", columns.key, "key")
        self._image = self._required(self._image_role, columns.image, "image")
        self._caption = self._required("captions", columns.caption, "caption")
        roles = filter(None, (self._key, self._image, self._caption))
        if lacking := sorted(incomplete.intersection(roles)):
            without = next(file for schema, file in schemas.items() if lacking[0] not in schema.names)
            raise InputError(f"{without} has no column {lacking[0]}, and other files of {uri} do; embed them apart")

    def _count_captions(self) -> None:
        """Count each caption of a list as a row."""
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            starts = list(pool.map(self._starts, self.files))
        self.rows = {
            file: None if some is None else int(some[-1]) for file, some in zip(self.files, starts, strict=True)
        }

    def _is_wanted(self, file: str) -> bool:
        """Whether a file with one of the suffixes is of the source."""
        del file
        return True

    def file_digest(self, file: str) -> str:
        """Return a digest of the file's size and both its ends, of which one is the footer."""
        return tagged_digest(self._filesystem, self._path(file))

    def listed_tags(self) -> dict[str, str]:
        """Return what an object store lists of the files."""
        return listed_tags(self._filesystem, self._root)

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every file into units of at most `rows_per_unit` rows."""
        return [
            unit
            for file, rows in self.rows.items()
            for unit in ([PairUnit(file, 0, None)] if rows is None else cut(file, rows, rows_per_unit))
        ]

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's rows in order; only the row groups that hold them are read."""
        if unit.stop is None:
            if rows is None or unit.start in rows:
                yield self._spoilt(unit)
            return
        wanted = unit.chosen(rows, unit.stop)
        columns = [
            name for name in (self._key, self._image, self._caption, *self.passed_through.names) if name is not None
        ]
        parts = self._parts(unit.file, self._rows_of(unit.file, wanted), rows_per_batch, list(dict.fromkeys(columns)))
        raws = (self._raw(unit.file, *part) for part in parts)
        yield from full_batches(self._of_pairs(unit.file, raws, wanted) if self._has_lists else raws, rows_per_batch)

    def _starts(self, file: str) -> npt.NDArray[np.int64] | None:
        """The number of the first pair of each row, and how many pairs there are; None if the file is spoilt."""
        rows = self._file_rows[file]
        if rows is None:
            return None
        return _pair_starts(self._filesystem, self._path(file), file, rows, self._caption)

    def _rows_of(self, file: str, pairs: Sequence[int]) -> Sequence[int]:
        """Return the rows that some pairs are of."""
        if not self._has_lists or self._captions.choice != "all" or not pairs:
            return pairs
        starts = self._starts(file)
        assert starts is not None
        rows: list[int] = np.unique(np.searchsorted(starts, np.asarray(pairs), side="right") - 1).tolist()
        return rows

    def _of_pairs(self, file: str, raws: Iterable[RawPairs], wanted: Collection[int]) -> Iterator[RawPairs]:
        """Yield the pairs that rows with several captions make."""
        starts = self._starts(file) if self._captions.choice == "all" else None
        chosen = frozenset(wanted)
        for raw in raws:
            places, numbers, keys, captions = [], [], [], []
            for place, row in enumerate(raw.rows):
                texts: list[str | None] = raw.captions[place] or [None]  # type: ignore[assignment]  # lists are invariant
                if starts is not None and raw.rejections[place] is not None:
                    texts = [None] * int(starts[row + 1] - starts[row])
                for offset, (key, text) in enumerate(self._captions.chosen(raw.keys[place], texts)):
                    number = row if starts is None else int(starts[row]) + offset
                    if number in chosen:
                        places.append(place)
                        numbers.append(number)
                        keys.append(key)
                        captions.append(raw_text(text))
            yield RawPairs(
                rows=numbers,
                keys=keys,
                images=[raw.images[place] for place in places],
                captions=captions,
                rejections=[raw.rejections[place] for place in places],
                passed_through=raw.passed_through.take(pa.array(places, pa.int64())),
            )

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the image bytes of some rows of one file; only the row groups that hold them are read, once."""
        wanted = PairUnit(file, 0, None).chosen(rows, self.rows[file] or 0)
        found: dict[int, bytes | None] = {}
        for numbers, part in self._parts(file, self._rows_of(file, wanted), _IMAGES_AT_ONCE, [self._image]):
            values = [None] * len(numbers) if isinstance(part, str) else self._found(file, part[self._image])
            found |= zip(numbers, (None if isinstance(value, Rejected) else value for value in values), strict=True)
        return {pair: found[row] for pair in wanted for row in self._rows_of(file, [pair])}

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return one file's key column, as binary; null where it cannot be read."""
        assert self._key is not None
        parts = self._parts(file, range(self._file_rows[file] or 0), _KEYS_AT_ONCE, [self._key])
        keys = [[None] * len(rows) if isinstance(part, str) else bytes_of(part[self._key]) for rows, part in parts]
        starts = self._starts(file) if self._has_lists and self._captions.choice == "all" else None
        if starts is not None:
            pairs = zip((key for some in keys for key in some), np.diff(starts).tolist(), strict=True)
            keys = [[numbered for numbered, _ in self._captions.chosen(key, [None] * count)] for key, count in pairs]
        return pa.chunked_array([pa.array(some, pa.binary()) for some in keys], pa.binary())

    @property
    def _names_images(self) -> bool:
        """Whether the column of images may name some."""
        kind = self._schema.field(self._image).type
        return bool(pa.types.is_struct(kind)) and kind.get_field_index("path") >= 0

    def _fetch_of(self, file: str) -> Fetch:
        """What gets the images that one file names."""
        folder = self._images or ImageFolder(self._filesystem, posixpath.dirname(self._path(file)))
        return each_as_it_is(self._fetch or folder.fetch, folder.fetch)

    def _found(self, file: str, column: pa.ChunkedArray) -> Sequence[bytes | Rejected | None]:
        """Return what a column of images holds or names."""
        found: list[bytes | Rejected | None] = [_plain_image(value) for value in bytes_of(column)]
        if self._names_images and pa.types.is_struct(column.type) and None in found:
            paths = map(text_of, bytes_of(pc.struct_field(column, "path")))
            names = [path if image is None else None for image, path in zip(found, paths, strict=True)]
            if any(names):
                (named,) = self._fetch_of(file)([names])
                found = [image if name else own for own, name, image in zip(found, names, named, strict=True)]
        return found

    def _parts(
        self, file: str, wanted: Sequence[int], rows_at_once: int, columns: list[str]
    ) -> Iterator[tuple[Sequence[int], Part]]:
        """Yield the wanted rows of a file in order, with their numbers."""
        if not wanted:
            return
        with open_file(self._filesystem, self._path(file), cache_type="none") as stream:
            parquet = open_parquet(stream)
            if parquet.metadata.num_rows != self._file_rows[file]:
                raise Unreachable(
                    f"{file} had {self._file_rows[file]} rows when it was listed, now {parquet.metadata.num_rows}"
                )
            first, names = 0, set(parquet.schema_arrow.names)
            for group in range(parquet.num_row_groups):
                stop = first + parquet.metadata.row_group(group).num_rows
                within = wanted[bisect_left(wanted, first) : bisect_left(wanted, stop)]
                there = [name for name in columns if name in names]
                batches = parquet.iter_batches(rows_at_once, [group], there) if within else iter(())
                yield from read_group(batches, first, within)
                first = stop

    def _raw(self, file: str, rows: Sequence[int], part: Part) -> RawPairs:
        if isinstance(part, str):
            return self._unreadable(file, rows, Rejected(Reason.UNREADABLE_FILE, part))
        try:
            passed_through = conformed(part, self.passed_through)
        except pa.ArrowException as error:  # a value that the common type of all files cannot hold
            if len(rows) == 1:
                return self._unreadable(file, rows, Rejected(Reason.UNREADABLE_ROW, str(error)))
            half = len(rows) // 2
            parts = (rows[:half], part.slice(0, half)), (rows[half:], part.slice(half))
            return RawPairs.joined([self._raw(file, *each) for each in parts])
        keys = [place_key(file, row) for row in rows] if self._key is None else bytes_of(part[self._key])
        images = self._found(file, part[self._image])
        return RawPairs(
            rows=list(rows),
            keys=list(keys),
            images=[None if isinstance(image, Rejected) else image for image in images],
            captions=texts_in(part[self._caption]) if self._has_lists else bytes_of(part[self._caption]),
            rejections=[image if isinstance(image, Rejected) else None for image in images],
            passed_through=passed_through,
        )

    def _unreadable(self, file: str, rows: Sequence[int], why: Rejected) -> RawPairs:
        nothing: list[None] = [None] * len(rows)
        return RawPairs(
            rows=list(rows),
            keys=[place_key(file, row) for row in rows],
            images=list(nothing),
            captions=list(nothing),
            rejections=[why for _ in rows],
            passed_through=pa.table([pa.nulls(len(rows), f.type) for f in self.passed_through], self.passed_through),
        )

    def _spoilt(self, unit: PairUnit) -> RawPairs:
        """Return the one pair that says that the file has no readable footer."""
        footer = self._footer(unit.file)
        if isinstance(footer, tuple):
            raise OSError("it was not readable when the run began, and is now; run the same command again")
        if isinstance(footer, Unreachable):
            raise footer
        return self._unreadable(
            unit.file, [unit.start], Rejected(Reason.UNREADABLE_FILE, self._fault(unit.file, footer))
        )

    def _fault(self, file: str, error: Any) -> str:
        """Return why a file cannot be read: by what it is, where its beginning says that."""
        try:
            with open_file(self._filesystem, self._path(file)) as stream:
                head = stream.read(OTHER_HEAD_BYTES)
        except Unreachable:
            return str(error)
        what = None if head.startswith(b"PAR1") else other_kind(head)
        return f"it is {what}" if what else str(error)

    def _footer(self, file: str) -> tuple[int, pa.Schema] | Exception:
        """Return how many rows a file has, and its schema; or why it cannot be read."""
        try:
            with open_file(self._filesystem, self._path(file), cache_type="none") as stream:
                parquet = open_parquet(stream)
                return parquet.metadata.num_rows, plain_schema(parquet.schema_arrow)
        except SPOILT as error:
            return error

    def _column(self, role: str, given: str, option: str) -> str | None:
        """Return the column for `role`: the one given, else the first usual one that holds what such a column holds."""
        fits, what = ROLES[role]
        types = {field.name: field.type for field in self._schema}
        if not given:
            texts = usual_column([name for name, kind in types.items() if ROLES["caption"][0](kind)], role)
            lists = usual_column([name for name, kind in types.items() if fits(kind)], role)
            return texts or lists if role == "captions" else lists
        name = given_column(list(types), _SHOWN.get(role, role), given, self.uri, option)
        if not fits(types[name]):
            shown = _SHOWN.get(role, role)
            raise InputError(f"{self.uri}: column {name!r} holds {types[name]}; that for the {shown} must hold {what}")
        return name

    def _required(self, role: str, given: str, option: str) -> str:
        name = self._column(role, given, option)
        if name is None:
            there = [f"{field.name} ({field.type})" for field in self._schema]
            raise no_column(there, _SHOWN.get(role, role), self.uri, option, f" of {ROLES[role][1]}")
        return name

    def _taken(self) -> tuple[str | None, ...]:
        """The columns that do not pass through."""
        return (self._key, self._image, self._caption)

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


@lru_cache(maxsize=64)
def _pair_starts(
    filesystem: AbstractFileSystem, path: str, file: str, rows: int, caption: str
) -> npt.NDArray[np.int64]:
    """Return the number of the first pair of each row, if each of its captions makes one, and that of all pairs."""
    with open_file(filesystem, path, cache_type="none") as stream:
        parquet = open_parquet(stream)
        if parquet.metadata.num_rows != rows:
            raise Unreachable(f"{file} had {rows} rows when it was listed, now {parquet.metadata.num_rows}")

        def parts() -> Iterator[tuple[Sequence[int], Part]]:
            first = 0
            for group in range(parquet.num_row_groups):
                stop = first + parquet.metadata.row_group(group).num_rows
                yield from read_group(
                    parquet.iter_batches(_KEYS_AT_ONCE, [group], [caption]), first, range(first, stop)
                )
                first = stop

        return np.concatenate([[0], np.cumsum(counts_of_captions(parts(), rows, caption))])


def _plain_image(value: bytes | None) -> bytes | Rejected | None:
    """Return an image's bytes, also where they are in base64."""
    if value is None or image_kind(value[:HEAD_BYTES]) is not None:
        return value
    return decoded(value.decode("ascii")) if value.isascii() and is_inline(value[:LOOKED_AT].decode()) else value
