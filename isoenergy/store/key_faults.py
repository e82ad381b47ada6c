"""What is wrong with the keys of vectors, told at once and before anything is copied."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from isoenergy.counts import counted
from isoenergy.pairs.formats.row_groups import NO_LETTER, readable


class KeyFault(StrEnum):
    """Of a row."""

    UNPLACED = "without a place in the join by key"
    """It is one of a file that is joined, and of no unit: nothing names it but this."""
    WITHOUT_FELLOW = "without a fellow in the join by key"
    LACKING = "without a key"
    NOT_UTF8 = "with a key that is not UTF-8"
    REPEATED = "with a key that stands before"


@dataclass(frozen=True)
class FaultyKeys:
    """Rows with one fault."""

    fault: KeyFault
    count: int
    first: str
    """Where the first stands, for people."""

    def __str__(self) -> str:
        """Say it."""
        return f"{counted(self.count, 'row')} {self.fault}, such as {self.first}"


def added(faults: Iterable[FaultyKeys]) -> list[FaultyKeys]:
    """Return one for each kind, in their order."""
    counts: Counter[KeyFault] = Counter()
    first: dict[KeyFault, str] = {}
    for each in faults:
        counts[each.fault] += each.count
        first.setdefault(each.fault, each.first)
    return [FaultyKeys(fault, counts[fault], first[fault]) for fault in KeyFault if counts[fault]]


def fault_of(key: str) -> KeyFault | None:
    """Return what is wrong with a key by itself."""
    if not key:
        return KeyFault.LACKING
    return KeyFault.NOT_UTF8 if NO_LETTER in key else None


def unusable_keys(keys: pa.ChunkedArray, file: str) -> list[FaultyKeys]:
    """Return what is wrong with each key by itself, of one file."""
    rows: dict[KeyFault, list[int]] = {KeyFault.LACKING: [], KeyFault.NOT_UTF8: []}
    for row, raw in enumerate(keys):
        if fault := fault_of(readable(raw.as_py())):
            rows[fault].append(row)
    return [FaultyKeys(fault, len(bad), f"{file}, row {bad[0]}") for fault, bad in rows.items() if bad]
