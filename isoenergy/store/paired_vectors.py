"""Paired vectors that are there already, in Parquet: which columns they are, and the store that is made of them.

A row is a pair, or as many things as there are columns of vectors: each column is a modality, in their order. Training
and evaluation do not read such files where they lie: they copy them once into an embedding store, in the output. A file
may have lists of no fixed length, float64, row groups of any size, and a fault in any row; in a store all of this has
been looked at, shards are what a task or a streaming reader takes, and digests say that they are still the same. So
indices, batches, parts, caching, S3 and resumption have one path, at the price of the vectors' bytes, once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from isoenergy.errors import InputError
from isoenergy.pairs.columns import usual_column
from isoenergy.pairs.formats.parquet import SPOILT, SUFFIX, bytes_of, open_parquet
from isoenergy.pairs.formats.schemas import ROLES, common_schema, conformed, plain_schema, require_columns
from isoenergy.pairs.reach import absolute_source, ending, find_files, open_file, source_files
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import PairUnit, cut, place_key
from isoenergy.pairs.splits import SPLITS, split_of
from isoenergy.settings.modalities import MODALITY_NAME
from isoenergy.storage.files import file_digest, open_filesystem, without_secrets
from isoenergy.store.manifest import VECTORS, Manifest, StoredDtype
from isoenergy.store.schema import OWN_COLUMNS, REJECTED, stored_names, vectors_schema

ROWS_A_UNIT = 8192
_FOOTERS_AT_ONCE = 32
_NO_LETTER = "\ufffd"


@dataclass(frozen=True)
class VectorRows:
    """A unit as it goes into the store."""

    unit: PairUnit
    shard: pa.Table
    rejected: pa.Table


class VectorFiles:
    """A Parquet file or a folder of them, on any filesystem that fsspec opens, with columns of vectors. Pickles small.

    Beside them `key` (or another usual name; else a row's key is its file and number), `split` (else it follows from
    the key) and a caption are what they are for pairs of images and texts; every other column passes through.
    """

    def __init__(self, uri: str, modalities: Sequence[str] = ()) -> None:
        """Look at the files' schemas; no rows are read but the first, if lists have no fixed length.

        modalities: the columns to take; none: all columns of vectors.
        Raises InputError for files that cannot be read, differ in these columns, the key, the split or the caption, or
        have types that no common one holds (what passes through may lack: see `common_schema`); for fewer than two
        columns of vectors, one that is not there, or a name that a modality cannot have.
        """
        self.uri = absolute_source(uri)
        self._filesystem, self._root, self.files, _ = source_files(uri, (SUFFIX,))
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            footers = dict(zip(self.files, pool.map(self._footer, self.files), strict=True))
        self.rows = {file: rows for file, (rows, _) in footers.items()}
        if not any(self.rows.values()):
            raise InputError(f"{uri} holds no rows in its {len(self.files)} Parquet files; give one that does")
        schemas = {schema: file for file, (_, schema) in reversed(footers.items())}
        schema = common_schema(schemas)
        names = _chosen(schema, modalities, uri)
        others = {field.name: field.type for field in schema if field.name not in names}
        self.key, self.caption = (
            usual_column([name for name, kind in others.items() if ROLES[role][0](kind)], role)
            for role in ("key", "caption")
        )
        self.splits_given = pa.types.is_string(others.get("split", pa.null()))
        taken = {name for name in (self.key, self.caption, "split" if self.splits_given else None) if name}
        require_columns(schemas, {*names, *taken})
        first = next(file for file, rows in self.rows.items() if rows)
        self.widths = {name: self._width(schema.field(name).type, first, name) for name in names}
        halves = all(schema.field(name).type.value_type == pa.float16() for name in names)
        self.dtype: StoredDtype = "float16" if halves else "float32"
        self.passed_through = pa.schema([(name, kind) for name, kind in others.items() if name not in taken])

    def manifest(self) -> Manifest:
        """Return the manifest of the store that is made of them."""
        return Manifest(
            encoder="",
            encoder_digest="",
            preprocessing={},
            precision="float32",
            dim=max(self.widths.values()),
            dtype=self.dtype,
            source=without_secrets(self.uri),
            source_images="",
            source_format=VECTORS,
            columns={"key": self.key or "", "caption": self.caption or ""},
            passed_through={field.name: str(field.type) for field in self.passed_through},
            rows_per_unit=ROWS_A_UNIT,
            batch_rows=ROWS_A_UNIT,
            units=len(self.units()),
            software={name: version(name) for name in ("isoenergy", "pyarrow")},
            widths=self.widths,
            splits_given=self.splits_given,
        )

    def units(self) -> list[PairUnit]:
        """Return the units of all files in their order."""
        return [unit for file, rows in self.rows.items() for unit in cut(file, rows, ROWS_A_UNIT)]

    def file_digest(self, file: str) -> str:
        """Return a digest of the file's size and both its ends, of which one is the footer."""
        return file_digest(self._filesystem, f"{self._root}/{file}")

    def read(self, file: str, units: Sequence[PairUnit], skip_bad_rows: bool) -> Iterator[VectorRows]:
        """Yield some units of one file, given in their order.

        Raises InputError, naming file, row and column, for a row that cannot be used: a list that is missing or of
        another length, a number that is missing or not finite, nothing but zeros, no key, an unknown split. With
        `skip_bad_rows` such rows are rejected.
        """
        columns = [*self.widths, *(name for name in (self.key, self.caption) if name)]
        columns += ["split"] * self.splits_given + self.passed_through.names
        try:
            with open_file(self._filesystem, f"{self._root}/{file}", cache_type="none") as stream:
                parquet = open_parquet(stream)
                there = [name for name in columns if name in parquet.schema_arrow.names]
                for unit, table in _cut_rows(parquet, units, there):
                    yield self._looked_at(unit, table, skip_bad_rows)
        except SPOILT as error:
            raise InputError(f"{self._place(file)} cannot be read ({error}); mend it, or leave it out") from error

    def _looked_at(self, unit: PairUnit, table: pa.Table, skip_bad_rows: bool) -> VectorRows:
        faults: dict[int, str] = {}
        vectors = {name: _vectors(table[name], name, width, self.dtype, faults) for name, width in self.widths.items()}
        keys = [place_key(unit.file, unit.start + row).decode() for row in range(len(table))]
        if self.key:
            keys = _texts(table[self.key])
            faults |= {row: "there is no key" for row, key in enumerate(keys) if not key}
            faults |= {row: "the key is not UTF-8" for row, key in enumerate(keys) if _NO_LETTER in key}
        splits: list[str] = [split_of(key) for key in keys]
        if self.splits_given:
            splits = _texts(table["split"])
            faults |= {
                row: f"the split is {split!r}, and none of {', '.join(SPLITS)}"
                for row, split in enumerate(splits)
                if split not in SPLITS
            }
        if faults and not skip_bad_rows:
            row, what = min(faults.items())
            raise InputError(
                f"{self._place(unit.file)}, row {unit.start + row}: {what}; mend the file, or give --skip-bad-rows to "
                f"leave such rows out"
            )
        captions = _texts(table[self.caption]) if self.caption else keys
        schema = vectors_schema(self.widths, self.dtype, self.passed_through)
        numbers = [unit.start + row for row in range(len(table))]
        columns = {
            "key": keys,
            "row": numbers,
            "split": splits,
            "caption": [caption or key for caption, key in zip(captions, keys, strict=True)],
            **{name: pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1]) for name, rows in vectors.items()},
            **dict(
                zip(
                    stored_names(self.passed_through.names, self.widths),
                    conformed(table, self.passed_through).columns,
                    strict=True,
                )
            ),
        }
        good = pa.array([row for row in range(len(table)) if row not in faults], pa.int64())
        rejected = [
            {
                "key": keys[row] or None,
                "file": unit.file,
                "row": numbers[row],
                "reason": Reason.UNUSABLE_ROW,
                "detail": what,
            }
            for row, what in sorted(faults.items())
        ]
        return VectorRows(
            unit, pa.table(columns, schema=schema).take(good), pa.Table.from_pylist(rejected, schema=REJECTED)
        )

    def _footer(self, file: str) -> tuple[int, pa.Schema]:
        try:
            with open_file(self._filesystem, f"{self._root}/{file}", cache_type="none") as stream:
                parquet = pq.ParquetFile(stream)
                return parquet.metadata.num_rows, plain_schema(parquet.schema_arrow, keep_lengths=True)
        except SPOILT as error:
            raise InputError(f"{self._place(file)} is no Parquet file that can be read ({error})") from error

    def _width(self, kind: pa.DataType, file: str, name: str) -> int:
        """The length of a column's lists: the type's, or the first row's."""
        width: int | None = kind.list_size if pa.types.is_fixed_size_list(kind) else None
        if width is None:
            with open_file(self._filesystem, f"{self._root}/{file}", cache_type="none") as stream:
                first = next(pq.ParquetFile(stream).iter_batches(1, columns=[name]))
            width = pc.list_value_length(first[name])[0].as_py()
        if not width:
            raise InputError(f"{self._place(file)}, row 0: there is no {name} vector; mend the file")
        return width

    def _place(self, file: str) -> str:
        return without_secrets(self.uri if self.uri.endswith(f"/{file}") else f"{self.uri.rstrip('/')}/{file}")


def holds_vectors(uri: str) -> bool:
    """Return whether Parquet files lie at `uri` that are not a store's, nor those of stores in a folder."""
    filesystem, root = open_filesystem(uri)
    if filesystem.isfile(f"{root}/manifest.json"):  # a store may have many files
        return False
    if filesystem.isfile(root):
        return root.lower().endswith(SUFFIX)
    files = find_files(filesystem, root) if filesystem.isdir(root) else []
    return bool(ending(files, (SUFFIX,))) and not any(file.rpartition("/")[2] == "manifest.json" for file in files)


def _chosen(schema: pa.Schema, modalities: Sequence[str], uri: str) -> list[str]:
    there = [field.name for field in schema if _is_vector(field.type)]
    if missing := [name for name in modalities if name not in there]:
        raise InputError(
            f"{uri} has no column of vectors {missing[0]!r}; those it has are {', '.join(there) or 'none'} "
            f"among {', '.join(schema.names)}"
        )
    names = list(modalities or there)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"{uri} has the columns {', '.join(schema.names)}, of vectors: {', '.join(names) or 'none'}; paired "
            f"vectors are two or more different columns of lists of float16, float32 or float64; images and texts are "
            f"embedded first, by `isoenergy embed`"
        )
    for name in names:
        if name in OWN_COLUMNS or not MODALITY_NAME.fullmatch(name):
            raise InputError(
                f"{uri}: a modality cannot be called {name!r}; rename the column: letters, digits, _ and -, none of "
                f"{', '.join(OWN_COLUMNS)}"
            )
    return names


def _is_vector(kind: pa.DataType) -> bool:
    return bool((pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and pa.types.is_floating(kind.value_type))


def _cut_rows(
    parquet: pq.ParquetFile, units: Sequence[PairUnit], columns: list[str]
) -> Iterator[tuple[PairUnit, pa.Table]]:
    """Yield the rows of each unit; row groups before the first are passed over, and a unit or so is held at a time."""
    ends = np.cumsum([parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)])
    first_group = int(np.searchsorted(ends, units[0].start, side="right"))
    held, first = [], int(ends[first_group - 1]) if first_group else 0
    batches = parquet.iter_batches(ROWS_A_UNIT, list(range(first_group, parquet.num_row_groups)), columns)
    stop = first
    for unit in units:
        assert unit.stop is not None
        while stop < unit.stop:
            batch = next(batches, None)
            if batch is None:
                raise OSError(f"it has fewer than {unit.stop} rows")
            held.append(batch)
            stop += len(batch)
        table = pa.Table.from_batches(held)
        yield unit, table.slice(unit.start - first, unit.stop - unit.start)
        rest = table.slice(unit.stop - first)
        held, first = rest.to_batches(), unit.stop


def _vectors(
    column: pa.ChunkedArray, name: str, width: int, dtype: StoredDtype, faults: dict[int, str]
) -> npt.NDArray[np.floating]:
    """Return a column as `(rows, width)`, zeros where a row cannot be used; its faults join those that are known."""
    lists = column.combine_chunks()
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    whole = lengths == width
    numbers = lists.filter(pa.array(whole)).flatten()
    rows = np.zeros((len(lists), width), dtype)
    lacking = np.zeros(len(lists), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        rows[whole] = numbers.to_numpy(zero_copy_only=False).reshape(-1, width)
    lacking[whole] = numbers.is_null().to_numpy(zero_copy_only=False).reshape(-1, width).any(axis=1)
    for row in np.flatnonzero(lengths == -1):
        faults.setdefault(int(row), f"there is no {name} vector")
    for row in np.flatnonzero((lengths >= 0) & ~whole):
        faults.setdefault(int(row), f"{name} has {lengths[row]} numbers, and others have {width}")
    for row in np.flatnonzero(lacking):
        faults.setdefault(int(row), f"{name} lacks a number")
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)):
        faults.setdefault(int(row), f"{name} is not finite in {dtype}")
    for row in np.flatnonzero(~rows.any(axis=1)):
        faults.setdefault(int(row), f"{name} is zero")
    return rows


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Return strings, or numbers as text; nothing is empty, and bytes that are no text become `_NO_LETTER`."""
    return [(value or b"").decode("utf-8", "replace") for value in bytes_of(column)]
