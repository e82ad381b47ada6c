"""Paired vectors that are there already: which columns they are, and the store that is made of them.

A row is a pair, or as many things as there are columns of vectors: each column is a modality, in their order. Training
and evaluation read an embedding store: a file may have lists of no fixed length, float64, and a fault in any row; in a
store all of this has been looked at once, shards are what a task or a streaming reader takes, and digests say that they
are still the same. So indices, batches, parts, caching, S3 and resumption have one path. A store that is a view leaves
the vectors in these files, where rows can be read by ranges; a copy costs their bytes, once.

Which files they are: `isoenergy.store.vector_sources`.
"""

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from importlib.metadata import version
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.pairs.columns import NO_KEY, usual_column
from isoenergy.pairs.formats.row_groups import SPOILT, bytes_of, readable
from isoenergy.pairs.formats.schemas import ROLES, common_schema
from isoenergy.pairs.places import absolute_source
from isoenergy.pairs.source import PairUnit, cut
from isoenergy.storage.files import file_digest, without_secrets
from isoenergy.store.column_files import ArrayColumns, ColumnFile, Ranges, joined_part
from isoenergy.store.joined_captions import JoinedCaptions
from isoenergy.store.key_faults import FaultyKeys, KeyFault, unusable_keys
from isoenergy.store.lance_columns import LanceColumns
from isoenergy.store.lent_columns import ColumnPlace, without_vectors
from isoenergy.store.manifest import VECTORS, Manifest, StoredDtype
from isoenergy.store.modality_columns import LEAST_WIDTH, ROWS_LOOKED_AT, Width, chosen_columns, is_vector, usual_key
from isoenergy.store.vector_rows import LookedAt, VectorColumns

ROWS_A_UNIT = 8192
RENAMED = "source_"
"""Before the name of a column that a modality has too."""
_APART = "import them apart"


@dataclass(frozen=True)
class VectorRows:
    """A unit as it goes into the store."""

    unit: PairUnit
    shard: pa.Table
    rejected: pa.Table
    captions_not_utf8: int
    """Rows whose caption has a replacement character for bytes that are no text."""
    captions_blank: int
    """Rows whose caption is nothing, or white space, though there is a column of them."""


ALONE = (
    "one modality: `train --beta 0` takes it, and `apply` for codes and what they rebuild; alignment, and all that "
    "compares modalities, need a second"
)
"""What there is to say of a store of one."""


class VectorFiles:
    """Files with columns of vectors, on any filesystem that fsspec opens. Pickles small.

    Beside the vectors `key` (or another usual name; else a row's key is its file and number), `split` (else it follows
    from the key) and a caption are what they are for pairs of images and texts; every other column passes through.
    """

    def __init__(
        self,
        uri: str,
        parts: Mapping[str, Sequence[ColumnFile]],
        modalities: Sequence[str] = (),
        key: str = "",
        without: Sequence[str] = (),
    ) -> None:
        """Choose among the columns; no rows are read but the first of a file, if lists have no fixed length.

        parts: by the file that stands for them, files whose rows belong together one by one.
        modalities: the columns of vectors to take; none: those of one width, `LEAST_WIDTH` or more.
        key: the column of keys; none: one of the usual names; `NO_KEY`: no column is. without: what the plan is to say
        of files that are not there.
        Raises InputError for files whose rows are not as many, that differ in these columns, the key, the split or the
        caption, or have types that no common one holds (what passes through may lack: see `common_schema`); for fewer
        than two columns of vectors, one that is not there, or a name that a modality cannot have.
        """
        self.uri = absolute_source(uri)
        self.without = list(without)
        self.parts = dict(parts)
        self.files = list(self.parts)
        self._require_equal_counts()
        self.rows = {file: together[0].rows for file, together in self.parts.items()}
        if not any(self.rows.values()):
            raise InputError(
                f"{without_secrets(uri)} holds no rows in {counted(len(self.files), 'file')}; give one that does"
            )
        for together in self.parts.values():
            _require_different_names(together)
        schemas: dict[pa.Schema, str] = {}
        for part in (part for together in self.parts.values() for part in together):
            schemas.setdefault(part.schema, part.at.file)
        schema = common_schema(schemas, _APART)
        widths, self.left = chosen_columns(without_secrets(self.uri), schema, modalities, self._width)
        self.left |= {name: why for together in self.parts.values() for part in together for name, why in _left(part)}
        others = {field.name: field.type for field in schema if field.name not in widths}
        own_key = self._key(others, key)
        texts = {name.removeprefix(RENAMED): name for name, kind in others.items() if ROLES["caption"][0](kind)}
        caption = texts.get(usual_column(list(texts), "caption") or "", "")
        splits_given = pa.types.is_string(others.get("split", pa.null()))
        taken = {name for name in (own_key, caption, "split" if splits_given else "") if name}
        self._require_in_all({*widths, *taken})
        halves = all(schema.field(name).type.value_type == pa.float16() for name in widths)
        passed_through = pa.schema([(name, kind) for name, kind in others.items() if name not in taken])
        dtype: StoredDtype = "float16" if halves else "float32"
        self.columns = VectorColumns(widths, dtype, own_key, caption, splits_given, passed_through)
        self.is_view = False

    @property
    def why_copied(self) -> str:
        """Why no store can be a view of these files; empty: one can."""
        if without_secrets(self.uri) != self.uri:
            return "what is behind their URL opens them, and a store keeps no secrets"
        places = (self._place(file, name) for file in self.files for name in self.columns.widths)
        return next((place for place in places if isinstance(place, str)), "")

    def viewed(self) -> Self:
        """Return the same files, of which a store is made that leaves the vectors where they are.

        Columns of bytes and of further vectors are left out. Raises InputError if it cannot be.
        """
        if why := self.why_copied:
            raise InputError(
                f"{without_secrets(self.uri)} has what no view can be made of: {why}; leave --view out for a copy"
            )
        view = copy(self)
        view.is_view = True
        heavy = sorted(field.name for field in self.columns.passed_through if self._is_heavy(field))
        view.left = self.left | dict.fromkeys(heavy, "it stays in the source: a view has texts and numbers")
        view.columns = self.columns.without(heavy)
        return view

    def plan(self) -> list[str]:
        """Return lines that say what is taken for what."""
        rows, files = sum(self.rows.values()), {part.at.shown for together in self.parts.values() for part in together}
        lines = [f"source      {without_secrets(self.uri)}: {counted(rows, 'row')} in {counted(len(files), 'file')}"]
        lines += [f"lacks       {line}: was there one, its rows are left out" for line in self.without]
        for name, width in self.columns.widths.items():
            lines.append(f"modality    {name}: {width} numbers a row, of {self._origin(name)}")
        if len(self.columns.widths) == 1:
            lines.append(f"alone       {ALONE}")
        stays = {name: "no modality" for name in self.left if name in self.columns.passed_through.names}
        lines += [f"{stays.get(name, 'left out'):<11} {name}: {why}" for name, why in self.left.items()]
        taken = self.columns
        lines.append(f"key         {f'column {taken.key}' if taken.key else f'file and row: {self._no_key}'}")
        lines.append(f"caption     {f'column {taken.caption}' if taken.caption else 'the key: there are no captions'}")
        lines.append(f"split       {'column split' if taken.splits_given else 'from the key'}")
        lines.append(f"passes      {', '.join(f'{f.name} {f.type}' for f in taken.passed_through) or 'nothing'}")
        if not self.is_view and (why := self.why_copied):
            lines.append(f"copied      no view of them can be made: {why}")
        if self.is_view:
            lent = ", ".join(map(self._lent, taken.widths))
            return [*lines, f"lent        {lent} stay where they are, and are read as {taken.dtype}"]
        size = rows * sum(taken.widths.values()) * np.dtype(taken.dtype).itemsize
        return [*lines, f"stored      {taken.dtype}, {size:,} bytes of vectors"]

    def manifest(self) -> Manifest:
        """Return the manifest of the store that is made of them."""
        return Manifest(
            encoder="",
            encoder_digest="",
            preprocessing={},
            precision="float32",
            dim=max(self.columns.widths.values()),
            dtype=self.columns.dtype,
            source=without_secrets(self.uri),
            source_images="",
            source_format=VECTORS,
            columns={"key": self.columns.key, "caption": self.columns.caption},
            passed_through={field.name: str(field.type) for field in self.columns.passed_through},
            rows_per_unit=ROWS_A_UNIT,
            batch_rows=ROWS_A_UNIT,
            units=len(self.units()),
            software={name: version(name) for name in ("isoenergy", "pyarrow")},
            widths=self.columns.widths,
            splits_given=self.columns.splits_given,
            view_of=self.parts[self.files[0]][0].at.root_uri if self.is_view else "",
        )

    def units(self) -> list[PairUnit]:
        """Return the units of all files in their order."""
        return [unit for file, rows in self.rows.items() for unit in cut(file, rows, ROWS_A_UNIT)]

    def file_digest(self, file: str) -> str:
        """Return a digest of the sizes and both ends of the files that belong together."""
        digests = [_digest_of(part) for part in self.parts[file]]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    @property
    def keys_may_repeat(self) -> bool:
        """Whether two rows may have one key."""
        return bool(self.columns.key)

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of one file's rows, binary, in their order; of those that `keys_may_repeat`."""
        ranges = [(unit.start, unit.stop or 0) for unit in cut(file, self.rows[file], ROWS_A_UNIT)]
        tables = self._tables(self._part(file, self.columns.key), ranges, [self.columns.key]) if ranges else ()
        keys = [pa.array(bytes_of(table[self.columns.key]), pa.binary()) for table in tables]
        return pa.chunked_array(keys, pa.binary())

    def named(self, file: str, row: int) -> str:
        """Return where a row of a file stands and which key it has, for people."""
        key = readable(self.keys(file)[row].as_py())
        return f"{self._part(file, self.columns.key).at.shown}, row {row}, key {key!r}"

    @property
    def has_keys(self) -> bool:
        """Whether there are keys that may have faults."""
        return bool(self.columns.key) or any(joined_part(part) for part in self._all_parts)

    def faulty_keys(self, file: str) -> list[FaultyKeys]:
        """Return what is wrong with the keys of a file's rows, and with those of the files that are joined to it.

        That a key stands in two rows is not looked for.
        """
        joined = [(part, own) for own in self.parts[file] if (part := joined_part(own))]
        needed = [part for part, own in joined if not self.columns.widths.keys().isdisjoint(own.schema.names)]
        try:
            faults = [FaultyKeys(KeyFault.UNPLACED, *part.unplaced()) for part, _ in joined]
            alone = {row: why for part in reversed(needed) for row, why in part.without_fellow().items()}
        except SPOILT as error:
            raise InputError(f"the keys beside {file} cannot be read ({error}); mend the files") from error
        if alone:
            faults.append(FaultyKeys(KeyFault.WITHOUT_FELLOW, len(alone), alone[min(alone)]))
        if self.columns.key:
            faults += unusable_keys(self.keys(file), self._part(file, self.columns.key).at.shown)
        return [fault for fault in faults if fault.count]

    @property
    def has_captions_by_key(self) -> bool:
        """Whether captions of a table are joined by key."""
        return any(part.caption for part in map(joined_part, self._all_parts) if part)

    def joined_captions(self) -> JoinedCaptions | None:
        """Return how a table of captions that is joined by key fits; None if there is none."""
        try:
            return JoinedCaptions.of(self.parts.values())
        except SPOILT as error:
            raise InputError(
                f"the keys of {without_secrets(self.uri)} cannot be read ({error}); mend the files"
            ) from error

    def read(
        self, file: str, units: Sequence[PairUnit], skip_bad_rows: bool, repeated: Sequence[int] = ()
    ) -> Iterator[VectorRows]:
        """Yield some units of one file, given in their order.

        repeated: numbers of the rows whose key stands before, in order, which are rejected.
        Raises InputError, naming file, row and column, for a row that cannot be used: a list that is missing or of
        another length, a number that is missing or not finite, nothing but zeros, no key, an unknown split. With
        `skip_bad_rows` such rows are rejected.
        """
        columns = self.columns.names
        ranges = [(unit.start, unit.stop or 0) for unit in units]
        parts = [part for part in self.parts[file] if not set(columns).isdisjoint(part.schema.names)]
        readers = [self._tables(part, ranges, columns) for part in parts]
        for unit, tables in zip(units, zip(*readers, strict=True), strict=True):
            there = {name: table[name] for table in tables for name in table.column_names}
            first, last = (bisect_left(repeated, edge) for edge in (unit.start, unit.stop or 0))
            yield self._looked_at(unit, pa.table(there), skip_bad_rows, repeated[first:last])

    def _tables(self, part: ColumnFile, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        there = [name for name in columns if name in part.schema.names]
        try:
            yield from part.tables(ranges, there)
        except SPOILT as error:
            raise InputError(f"{part.at.shown} cannot be read ({error}); mend it, or leave it out") from error

    def _looked_at(self, unit: PairUnit, table: pa.Table, skip_bad_rows: bool, repeated: Sequence[int]) -> VectorRows:
        rows = LookedAt(unit, table, self.columns, repeated)
        if rows.faults and not skip_bad_rows:
            raise self._bad_row(rows)
        shard = rows.shard()
        if self.is_view:
            places = {name: self._place(unit.file, name) for name in self.columns.widths}
            shard = without_vectors(shard, places, unit.start, unit.start + len(table))  # type: ignore[arg-type]
        return VectorRows(unit, shard, rows.rejected(), rows.captions_not_utf8, rows.captions_blank)

    def _bad_row(self, rows: LookedAt) -> InputError:
        """What is said of the first row that cannot be used."""
        row, fault = min(rows.faults.items(), key=lambda item: item[0])
        part = self._part(rows.unit.file, fault.column)
        place = f"key {rows.keys[row]!r}" if joined_part(part) else f"row {rows.unit.start + row}"
        return InputError(
            f"{part.at.shown}, {place}: {fault.what}; mend the file, or give --skip-bad-rows to leave such rows out"
        )

    def _is_heavy(self, field: pa.Field) -> bool:
        """Whether a column takes as many bytes as vectors do."""
        return _has_bytes(field.type) or (
            is_vector(field.type) and self._width(field.type, field.name)[0] >= LEAST_WIDTH
        )

    def _place(self, file: str, name: str) -> ColumnPlace | str:
        """Where a modality's vectors lie, or why they cannot be lent."""
        return ColumnPlace.of(self._part(file, name), name)

    def _lent(self, name: str) -> str:
        """What of a modality lies in the files, for people."""
        sizes: Counter[str] = Counter()
        for file, rows in self.rows.items():
            if not rows:
                continue
            place = self._place(file, name)
            assert isinstance(place, ColumnPlace)  # it is a view
            number = self._part(file, name).schema.field(name).type.value_type
            kind, row_bytes = str(np.dtype(number.to_pandas_dtype())), self.columns.widths[name] * number.bit_width // 8
            if place.array is not None:  # bfloat16 is in no schema
                kind, row_bytes = place.array.number, place.array.row_bytes
            sizes[kind] += rows * row_bytes
        return f"{name} ({' and '.join(f'{size:,} bytes of {kind}' for kind, size in sizes.items())})"

    @property
    def _all_parts(self) -> Iterator[ColumnFile]:
        return (part for together in self.parts.values() for part in together)

    def _part(self, file: str, column: str) -> ColumnFile:
        """The one of the files that belong together that has a column."""
        return next(part for part in self.parts[file] if column in part.schema.names)

    def _require_in_all(self, names: Collection[str]) -> None:
        """Raise InputError, with the files' names, if one has a column of these that its like lacks."""
        for alike in zip(*self.parts.values(), strict=True):
            having = {name: part for part in reversed(alike) for name in part.schema.names if name in names}
            for part in alike:
                if lacking := sorted(set(having).difference(part.schema.names)):
                    both = f"{having[lacking[0]].at.file} and {part.at.file}"
                    raise InputError(f"{both} do not both have {', '.join(lacking)}; {_APART}")

    def _require_equal_counts(self) -> None:
        uneven = [together for together in self.parts.values() if len({part.rows for part in together}) > 1]
        if uneven:
            counts = ", ".join(f"{part.rows:,} rows in {part.at.file}" for part in uneven[0])
            more = f"; and so {len(uneven) - 1} more" * (len(uneven) > 1)
            raise InputError(f"{without_secrets(self.uri)}: {counts}, which belong together{more}; mend or remove them")

    @property
    def _no_key(self) -> str:
        """Why no column is the key."""
        kinds = {field.name: field.type for field in self.columns.passed_through}
        called = usual_column([name for name, kind in kinds.items() if not ROLES["key"][0](kind)], "key")
        return f"{called} is of {kinds[called]}, no texts or integers" if called else "there is no column of keys"

    def _key(self, others: Mapping[str, pa.DataType], asked: str) -> str:
        fitting = [name for name, kind in others.items() if ROLES["key"][0](kind)]
        if not asked:
            return usual_key(fitting) or ""
        if asked == NO_KEY:
            return ""
        if asked not in fitting:
            what = f", which is of {others[asked]}" if asked in others else ""
            raise InputError(
                f"{without_secrets(self.uri)} has no column of keys {asked!r}{what}; those of texts or integers are "
                f"{', '.join(fitting) or 'none'}; give one of them, or {NO_KEY}"
            )
        return asked

    def _width(self, kind: pa.DataType, name: str) -> Width:
        if pa.types.is_fixed_size_list(kind):
            return kind.list_size, 1.0
        parts = [part for together in self.parts.values() for part in together if name in part.schema.names]
        part = next((part for part in parts if part.rows), parts[0])
        (first,) = self._tables(part, [(0, min(part.rows, ROWS_LOOKED_AT))], [name])
        lengths = pc.list_value_length(first[name]).drop_null().to_numpy(zero_copy_only=False)
        lengths = lengths[lengths > 0]
        if not len(lengths):
            return 0, 0.0
        counts = np.bincount(lengths)
        return int(counts.argmax()), float(counts.max() / len(lengths))

    def _origin(self, name: str) -> str:
        """Where a modality's vectors lie, for people."""
        files = [part.at.file for together in self.parts.values() for part in together if name in part.schema.names]
        return files[0] if len(files) == 1 else f"{files[0]} … {files[-1]}"


def _digest_of(part: ColumnFile) -> str:
    return part.digest if isinstance(part, LanceColumns) else file_digest(part.at.filesystem, part.at.path)


def _left(part: ColumnFile) -> Iterable[tuple[str, str]]:
    return part.left.items() if isinstance(part, ArrayColumns) else ()


def _require_different_names(together: Sequence[ColumnFile]) -> None:
    """Raise InputError if two of the files whose rows belong together have a column of one name."""
    holders: dict[str, ColumnFile] = {}
    for part in together:
        for name in part.schema.names:
            if other := holders.get(name):
                raise InputError(f"{other.at.file} and {part.at.file} belong together and both have {name}; rename one")
        holders |= dict.fromkeys(part.schema.names, part)


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    return any(_has_bytes(kind.field(number).type) for number in range(kind.num_fields))
