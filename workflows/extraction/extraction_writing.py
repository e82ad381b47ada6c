"""The actors of `isoenergy embed` that write the stores."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa

from isoenergy.extraction.embedding import separate
from isoenergy.pairs.source import PairUnit
from isoenergy.store import StoreWriter
from isoenergy.store.manifest import CommitRecord
from isoenergy.store.retry import merge
from isoenergy.store.schema import REJECTED, shard_schema
from isoenergy.store.writer import HOPELESS
from workflows.extraction.extraction_stores import Stores, Work

_COMMITS_AT_ONCE = 4
_WRITE_ATTEMPTS = 2  # a file system has its own as well


@dataclass(frozen=True)
class Finished:
    """What a writer's commits came to."""

    failures: dict[str, str]
    """Why units were not committed, by name."""
    committed_again: set[str]
    """Units that had been committed before and now are anew."""
    seconds: float
    """Of writing, since `add` last told them."""
    hopeless: str | None
    """Why a store cannot be written at all, if so."""
    records: list[list[CommitRecord]]
    """Of the units that were committed, by store."""


@dataclass
class _Gathered:
    """What has come of a unit so far."""

    work: Work
    file_digest: str
    batches: dict[int, list[pa.Table]] = field(default_factory=dict)
    """The tables for each store, by the batch's first row: a batch that is sent again replaces itself."""
    rows: int | None = None

    @property
    def whole(self) -> bool:
        return self.rows == sum(len(tables[0]) for tables in self.batches.values())


class Writer:
    """Gathers the batches of its units and commits each to every store once it is whole."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._gathered: dict[str, _Gathered] = {}
        self._pool = ThreadPoolExecutor(_COMMITS_AT_ONCE)
        self._room = threading.Semaphore(2 * _COMMITS_AT_ONCE)
        self._commits: list[Future[None]] = []
        self._failures: dict[str, str] = {}
        self._committed_again: set[str] = set()
        self._seconds = 0.0
        self._hopeless: str | None = None
        self._records: list[list[CommitRecord]] = [[] for _ in stores.writers]

    def add(
        self, unit: PairUnit, work: Work, tables: list[pa.Table], rows: int | None, file_digest: str
    ) -> tuple[str | None, float]:
        """Take a batch, and `rows` with a unit's last one; waits if too much is unwritten.

        A batch of another version of the file than those before it takes their place. Returns why a store cannot be
        written at all, as when the disk is full, else None; and the seconds of writing since the last call.
        """
        if self._hopeless is not None:
            return self._hopeless, self._new_seconds()
        gathered = self._gathered.get(unit.name)
        if gathered is None or gathered.file_digest != file_digest:
            gathered = self._gathered[unit.name] = _Gathered(work, file_digest)
        if tables and len(tables[0]):
            gathered.batches[tables[0]["row"][0].as_py()] = tables
        if rows is not None:
            gathered.rows = rows
        if gathered.whole:
            del self._gathered[unit.name]
            self._room.acquire()
            self._commits.append(self._pool.submit(self._commit, unit, gathered))
        return None, self._new_seconds()

    def forget(self, unit: str) -> None:
        """Give up what has come of a unit: the rest will not."""
        self._gathered.pop(unit, None)

    def finish(self) -> Finished:
        """Wait for all commits; return what they came to."""
        for commit in self._commits:
            commit.result()
        return Finished(self._failures, self._committed_again, self._new_seconds(), self._hopeless, self._records)

    def _new_seconds(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _commit(self, unit: PairUnit, gathered: _Gathered) -> None:
        start = time.perf_counter()
        try:
            batches = [gathered.batches[row] for row in sorted(gathered.batches)]
            for number, (writer, manifest) in enumerate(zip(self._stores.writers, self._stores.manifests, strict=True)):
                form = manifest.dim, manifest.dtype, self._stores.passed_through
                if batches:
                    parts = separate(pa.concat_tables([tables[number] for tables in batches]), unit, *form)
                else:
                    parts = shard_schema(*form).empty_table(), REJECTED.empty_table()
                if (record := self._write(writer, unit, gathered, parts)) is not None:
                    self._records[number].append(record)
            if gathered.work != "new":
                self._committed_again.add(unit.name)
        except Exception as error:  # a unit that cannot be committed must not take the others with it
            failure = f"{unit.name} cannot be written ({type(error).__name__}: {error})"
            self._failures[unit.name] = failure
            if isinstance(error, OSError) and error.errno in HOPELESS:
                self._hopeless = failure
        finally:
            self._room.release()
            self._seconds += time.perf_counter() - start

    def _write(
        self, writer: StoreWriter, unit: PairUnit, gathered: _Gathered, parts: tuple[pa.Table, pa.Table]
    ) -> CommitRecord | None:
        """Commit a unit, unless it is there already."""
        for attempt in range(_WRITE_ATTEMPTS):
            try:
                if gathered.work == "new":
                    if writer.has(unit.name):  # another store of this pass may lack it, or another run have made it
                        return None
                    return writer.commit(unit, gathered.file_digest, *parts)
                replaced = writer.record(unit.name)
                if gathered.work == "unit":
                    return writer.commit(unit, gathered.file_digest, *parts, replaced)
                if replaced is None:
                    raise ValueError("its commit record has gone")
                whole = merge(*writer.read(replaced), *parts)
                return writer.commit(unit, replaced.file_digest, *whole, replaced)
            except OSError as error:
                if error.errno in HOPELESS or attempt == _WRITE_ATTEMPTS - 1:
                    raise
                time.sleep(2**attempt)
        raise AssertionError("the last attempt returns or raises")
