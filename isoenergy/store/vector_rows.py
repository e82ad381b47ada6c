"""Rows of vectors as they are looked at: which can be used, why others cannot, and what of them goes into the store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isoenergy.pairs.formats.row_groups import NO_LETTER, bytes_of, readable
from isoenergy.pairs.formats.schemas import conformed
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import PairUnit, place_key
from isoenergy.pairs.splits import SPLITS, split_of
from isoenergy.store.arrays import checked_rows
from isoenergy.store.key_faults import KeyFault, fault_of
from isoenergy.store.manifest import StoredDtype
from isoenergy.store.schema import REJECTED, stored_names, vectors_schema


@dataclass(frozen=True)
class VectorColumns:
    """What the columns of files with vectors are."""

    widths: dict[str, int]
    """Of each modality's column: numbers a row."""
    dtype: StoredDtype
    key: str
    """Empty: a row's key is its file and number."""
    caption: str
    """Empty: a row's caption is its key."""
    splits_given: bool
    """Whether a column says the split; else it follows from the key."""
    passed_through: pa.Schema
    """Every other column that the store gets."""

    @property
    def names(self) -> list[str]:
        """All that are read."""
        named = [name for name in (self.key, self.caption) if name]
        return [*self.widths, *named, *["split"] * self.splits_given, *self.passed_through.names]

    def without(self, names: Iterable[str]) -> Self:
        """Return the same of which these columns do not pass through."""
        left = set(names)
        return replace(self, passed_through=pa.schema([it for it in self.passed_through if it.name not in left]))


@dataclass(frozen=True)
class Fault:
    """Why a row cannot be used, and the column whose file says so."""

    column: str
    what: str
    reason: Reason = Reason.UNUSABLE_ROW


@dataclass(frozen=True)
class LookedAt:
    """The rows of one unit."""

    unit: PairUnit
    table: pa.Table
    """Of the columns that are read, `(rows, columns)`."""
    columns: VectorColumns
    repeated: Sequence[int]
    """Numbers in the file of the rows whose key stands before."""
    vectors: dict[str, npt.NDArray[np.floating]] = field(default_factory=dict, init=False)
    """By modality `(rows, width)`; a row with a fault has any."""
    faults: dict[int, Fault] = field(default_factory=dict, init=False)
    """By place in the unit: a split's goes before a key's, a key's before a vector's, that before its repetition."""

    def __post_init__(self) -> None:
        """Look at every row."""
        self.faults.update({row - self.unit.start: self._repetition for row in self.repeated})
        self.faults.update(self._faults_of_vectors())
        self.faults.update(self._faults_of_keys())
        self.faults.update(self._faults_of_splits())

    @cached_property
    def keys(self) -> list[str]:
        """Of each row."""
        if self.columns.key:
            return list(map(readable, bytes_of(self.table[self.columns.key])))
        return [place_key(self.unit.file, number).decode() for number in self._numbers]

    @cached_property
    def captions_not_utf8(self) -> int:
        """Usable rows whose caption has a replacement character for bytes that are no text."""
        if not self.columns.caption:
            return 0
        given = enumerate(zip(bytes_of(self.table[self.columns.caption]), self._captions, strict=True))
        return sum(_is_mended(raw, text) for row, (raw, text) in given if row not in self.faults)

    @property
    def captions_blank(self) -> int:
        """Usable rows whose caption is nothing, or white space."""
        if not self.columns.caption:
            return 0
        return sum(not text.strip() for row, text in enumerate(self._captions) if row not in self.faults)

    def shard(self) -> pa.Table:
        """Return the usable rows as the store has them."""
        passed = self.columns.passed_through
        values = {
            "key": self.keys,
            "row": self._numbers,
            "split": self._splits,
            "caption": [caption or key for caption, key in zip(self._captions, self.keys, strict=True)],
            **{name: pa.FixedSizeListArray.from_arrays(it.ravel(), it.shape[1]) for name, it in self.vectors.items()},
        }
        names = stored_names(passed.names, self.columns.widths)
        values |= dict(zip(names, conformed(self.table, passed).columns, strict=True))
        usable = pa.array([row for row in range(len(self.table)) if row not in self.faults], pa.int64())
        schema = vectors_schema(self.columns.widths, self.columns.dtype, passed)
        return pa.table(values, schema=schema).take(usable)

    def rejected(self) -> pa.Table:
        """Return the others as the store names them."""
        rows = [
            {
                "key": self.keys[row] or None,
                "file": self.unit.file,
                "row": self._numbers[row],
                "reason": fault.reason,
                "detail": fault.what,
            }
            for row, fault in sorted(self.faults.items(), key=lambda item: item[0])
        ]
        return pa.Table.from_pylist(rows, schema=REJECTED)

    @property
    def _numbers(self) -> list[int]:
        return [self.unit.start + row for row in range(len(self.table))]

    @property
    def _repetition(self) -> Fault:
        return Fault(self.columns.key, "the key stands before", Reason.DUPLICATE_KEY)

    def _faults_of_vectors(self) -> dict[int, Fault]:
        faults: dict[int, Fault] = {}
        for name, width in self.columns.widths.items():
            found: dict[int, str] = {}
            self.vectors[name] = checked_rows(self.table[name], name, width, self.columns.dtype, found)
            faults = {row: Fault(name, what) for row, what in found.items()} | faults
        return faults

    def _faults_of_keys(self) -> dict[int, Fault]:
        if not (column := self.columns.key):
            return {}
        said = {KeyFault.LACKING: "there is no key", KeyFault.NOT_UTF8: "the key is not UTF-8"}
        found = {row: fault_of(key) for row, key in enumerate(self.keys)}
        return {row: Fault(column, said[fault]) for row, fault in found.items() if fault}

    def _faults_of_splits(self) -> dict[int, Fault]:
        """Of splits that are given: what follows from a key is one."""
        return {
            row: Fault("split", f"the split is {split!r}, and none of {', '.join(SPLITS)}")
            for row, split in enumerate(self._splits)
            if split not in SPLITS
        }

    @cached_property
    def _splits(self) -> list[str]:
        if self.columns.splits_given:
            return list(map(readable, bytes_of(self.table["split"])))
        return [split_of(key) for key in self.keys]

    @cached_property
    def _captions(self) -> list[str]:
        return list(map(readable, bytes_of(self.table[self.columns.caption]))) if self.columns.caption else self.keys


def _is_mended(value: bytes | None, text: str) -> bool:
    return NO_LETTER in text and text.encode() != value
