"""The units of `isoenergy apply`: read, turned into columns and committed, each on its own."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa
import torch
from torch import Tensor

from isoenergy.applying.application import Application, AppliedRows
from isoenergy.applying.written_layouts import LayoutFiles
from isoenergy.pairs.rejection import Reason, printed
from isoenergy.pairs.source import PairUnit
from isoenergy.store import StoreWriter
from isoenergy.store.arrays import embedding_rows
from isoenergy.store.manifest import CommitRecord
from isoenergy.store.schema import OWN_COLUMNS, REJECTED
from isoenergy.store.shards import Shards
from isoenergy.store.writer import HOPELESS, parquet_bytes

STAGES = ("read", "encode", "write")
_AHEAD = 2
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Source:
    """What a worker reads: it is told the shards, and opens no store."""

    shards: Shards
    modalities: tuple[str, ...]
    columns: tuple[str, ...]

    def read(self, record: CommitRecord) -> pa.Table:
        """Return what is taken of a unit's shard."""
        return self.shards.table(record.shard, [*OWN_COLUMNS, *self.columns, *self.modalities])


@dataclass(frozen=True)
class UnitTask:
    """A unit of the source, and the record of what was made of an earlier version of it."""

    record: CommitRecord
    replaced: CommitRecord | None
    number: int = 0
    """Its place among the units of the source."""
    laid_out_again: bool = False
    """Whether `replaced` stays, and only its files in other layouts are written."""


@dataclass(frozen=True)
class UnitOutcome:
    """What became of a unit."""

    unit: str
    record: CommitRecord | None = None
    """What was committed."""
    error: str = ""
    """Why it is not committed; empty if it is."""
    hopeless: bool = False
    """Whether no unit could be written."""
    seconds: Mapping[str, float] | None = None
    """Of work, by stage."""


@dataclass(frozen=True)
class UnitWork:
    """An application, where its rows come from and where its columns go. It may be sent to other processes."""

    application: Application
    source: Source
    writer: StoreWriter
    layouts: LayoutFiles | None = None
    """What else is written of a unit, before its commit."""

    def on(self, device: torch.device) -> "UnitWork":
        """Return the work with its autoencoder on a device."""
        return replace(self, application=replace(self.application, sae=self.application.sae.to(device)))

    def __call__(self, tasks: Sequence[UnitTask], grams: Mapping[str, Tensor | None]) -> list[UnitOutcome]:
        """Do some units; what fails costs its own alone. The next is read and the last written meanwhile."""
        outcomes: list[UnitOutcome] = []
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
            written: deque[Future[UnitOutcome]] = deque()
            for task, read in _ahead(reading, lambda task: _timed(lambda: self._read(task)), tasks):
                outcome = UnitOutcome(task.record.unit)
                try:
                    table, seconds = read.result()
                    start = time.perf_counter()
                    again = task.laid_out_again
                    shard, rejected = (table, None) if again else self.columns(table, task.record, grams)
                    spent = {"read": seconds, "encode": time.perf_counter() - start}
                except Exception as error:  # what a unit raises costs that unit alone
                    outcomes.append(replace(outcome, error=_said(task.record, "cannot be read or encoded", error)))
                    continue
                outcome = replace(outcome, seconds=spent)
                written.append(writing.submit(self._commit, task, shard, rejected, outcome))
                while len(written) > _AHEAD:
                    outcomes.append(written.popleft().result())
            outcomes += [each.result() for each in written]
        return outcomes

    def _read(self, task: UnitTask) -> pa.Table:
        if task.laid_out_again and task.replaced is not None:
            return self.writer.read(task.replaced)[0]
        return self.source.read(task.record)

    def columns(
        self, table: pa.Table, record: CommitRecord, grams: Mapping[str, Tensor | None]
    ) -> tuple[pa.Table, pa.Table]:
        """Return what is written of a unit's rows, and the rejected ones."""
        widths = self.source.shards.widths
        vectors = {name: embedding_rows(table[name], widths[name]) for name in self.source.modalities}
        made = self.application(vectors, grams)
        kept = table.select([*OWN_COLUMNS, *self.source.columns])
        if made.faults:
            kept = kept.take(pa.array([row for row in range(len(table)) if row not in made.faults], pa.int64()))
        for name, column in made.columns.items():
            kept = kept.append_column(name, column)
        return kept.replace_schema_metadata(None), _rejected(table, record, made)

    def stored_bytes(self, shard: pa.Table) -> int:
        """Return the bytes of a shard as a file."""
        return len(parquet_bytes(shard))

    def _commit(self, task: UnitTask, shard: pa.Table, rejected: pa.Table | None, outcome: UnitOutcome) -> UnitOutcome:
        start = time.perf_counter()
        try:
            if self.layouts is not None:
                self.layouts.write(task.number, shard)
            made = task.replaced
            if rejected is not None:
                # It has the source's name: that follows from file and first row.
                unit = PairUnit(task.record.file, task.record.start, None)
                made = self.writer.commit(unit, task.record.shard_sha256, shard, rejected, task.replaced)
        except Exception as error:
            hopeless = isinstance(error, OSError) and error.errno in HOPELESS
            return replace(outcome, error=_said(task.record, "cannot be written", error), hopeless=hopeless)
        seconds = {**(outcome.seconds or {}), "write": time.perf_counter() - start}
        return replace(outcome, record=made, seconds=seconds)


def _rejected(table: pa.Table, record: CommitRecord, made: AppliedRows) -> pa.Table:
    keys, numbers = table["key"], table["row"]
    rows = [
        {
            "key": keys[row].as_py(),
            "file": record.file,
            "row": numbers[row].as_py(),
            "reason": Reason.UNUSABLE_ROW,
            "detail": what,
        }
        for row, what in made.faults.items()
    ]
    return pa.Table.from_pylist(rows, schema=REJECTED)


def _said(record: CommitRecord, what: str, error: Exception) -> str:
    return printed(f"{record.unit} {what} ({type(error).__name__}: {' '.join(str(error).split())})")


def _timed(function: Callable[[], Made]) -> tuple[Made, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Item], Made], items: Iterable[Item]
) -> Iterator[tuple[Item, "Future[Made]"]]:
    """Yield each item with its future; a few of those that follow are begun by then."""
    begun: deque[tuple[Item, Future[Made]]] = deque()
    for item in items:
        begun.append((item, pool.submit(function, item)))
        if len(begun) > _AHEAD:
            yield begun.popleft()
    yield from begun
