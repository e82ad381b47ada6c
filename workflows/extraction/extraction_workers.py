"""What runs on the cluster for `isoenergy embed`: decoding tasks, encoder actors, and the writers of the stores.

A message is one batch of one unit in one row of a block, so that Ray may bundle and split blocks as it likes and the
encoder sees the same batches in every run.
"""

import errno
import os
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray
import torch

from isoenergy.encoders import DualEncoder, Preprocessor, load_encoder, load_preprocessor
from isoenergy.encoders.precision import cosine_to_float32
from isoenergy.errors import InputError
from isoenergy.extraction.embedding import (
    PIXELS,
    EncoderInputs,
    encode,
    prepare,
    separate,
    taken_by,
    with_embeddings,
)
from isoenergy.pairs.rejection import printed
from isoenergy.pairs.source import PairSource, PairUnit
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.retry import merge, retriable_rows
from isoenergy.store.schema import REJECTED, shard_schema

Work = Literal["new", "pairs", "unit"]
"""What is done with a unit: embed it, try those of its rejected pairs again that may be better now, or all of it."""

PAIRS_TO_COMPARE = 32
"""Of bfloat16 embeddings with float32 ones."""
_COMMITS_AT_ONCE = 4
_WRITE_ATTEMPTS = 2  # a file system has its own as well
_LOWEST_PRIORITY = 19
_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}
_MESSAGE = pa.schema(
    [
        ("file", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("work", pa.string()),
        ("number", pa.int64()),  # of the batch in its unit
        ("batch", pa.large_binary()),  # an Arrow stream of prepared pairs
        ("unit_rows", pa.int64()),  # how many pairs the whole unit has: with its last batch
        ("file_digest", pa.string()),
        ("error", pa.string()),
        ("read_seconds", pa.float64()),
        ("decode_seconds", pa.float64()),
    ]
)
OUTCOME = pa.schema(
    [
        ("unit", pa.string()),
        ("number", pa.int64()),  # of the batch in its unit
        ("error", pa.string()),
        ("hopeless", pa.bool_()),  # no unit could be written
        ("pairs", pa.int64()),
        ("rejected", pa.int64()),
        *((f"{stage}_seconds", pa.float64()) for stage in ("read", "decode", "encode", "write")),
        ("wait_seconds", pa.float64()),  # in which the encoder had nothing to do
        ("cosines", pa.list_(pa.float64())),  # of bfloat16 to float32, the least of each encoder, once an actor
    ]
)
"""What becomes of a message: small, for the driver."""


@dataclass(frozen=True)
class Stores:
    """The stores that one pass fills, one for each encoder."""

    writers: tuple[StoreWriter, ...]
    manifests: tuple[Manifest, ...]
    passed_through: pa.Schema
    compiled: bool
    """Whether the encoders are compiled."""

    @property
    def pixels(self) -> dict[str, str]:
        """The column of pixels that each encoder takes, by its name: encoders with one preprocessing share it."""
        distinct: list[dict[str, Any]] = []
        for manifest in self.manifests:
            if manifest.preprocessing not in distinct:
                distinct.append(manifest.preprocessing)
        return {m.encoder: f"{PIXELS}{distinct.index(m.preprocessing)}" for m in self.manifests}

    def load_preprocessors(self) -> dict[str, Preprocessor]:
        """Return what makes each column of pixels."""
        return {column: _preprocessor(encoder) for encoder, column in self.pixels.items()}

    def load_encoders(self, device: torch.device) -> list[DualEncoder]:
        """Load the encoders; raises InputError if this machine has other weights than the stores were begun with."""
        encoders = [load_encoder(m.encoder, device, m.precision, self.compiled) for m in self.manifests]
        for encoder, manifest in zip(encoders, self.manifests, strict=True):
            if encoder.digest != manifest.encoder_digest:
                raise InputError(
                    f"{encoder.name} has other weights on this machine ({encoder.digest[:12]}) than where the run was "
                    f"started ({manifest.encoder_digest[:12]}); all nodes must see one and the same"
                )
        return encoders

    def rows_to_retry(self, unit: str) -> list[int] | None:
        """Return the numbers of a unit's pairs that some store rejected for reasons that may have gone."""
        records = [(writer, record) for writer in self.writers if (record := writer.record(unit)) is not None]
        return sorted({row for writer, record in records for row in retriable_rows(writer.read_rejected(record))})


@lru_cache(maxsize=16)
def _preprocessor(encoder: str) -> Preprocessor:
    return load_preprocessor(encoder)


class Decode:
    """Reads units and prepares their pairs, a batch at a time."""

    def __init__(self, source: PairSource, stores: Stores, batch_rows: int, polite: bool) -> None:
        """`polite`: give way to the encoder, which shares the CPUs."""
        self._source, self._stores, self._batch_rows, self._polite = source, stores, batch_rows, polite

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Take rows of units, their work and their duplicates; yield messages."""
        torch.set_num_threads(1)
        if self._polite:
            os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)  # Ray's workers start at 15
        for item in items.to_pylist():
            duplicates, work = frozenset(item.pop("duplicates")), item.pop("work")
            unit = PairUnit(**item)
            try:
                yield from self._messages(unit, work, duplicates)
            except Exception as error:  # what a unit raises costs that unit alone
                yield _message(unit, work, error=f"{unit.file} cannot be read ({_in_one_line(error)})")

    def _messages(self, unit: PairUnit, work: Work, duplicates: frozenset[int]) -> Iterator[pa.Table]:
        preprocessors = self._stores.load_preprocessors()
        rows = self._stores.rows_to_retry(unit.name) if work == "pairs" else None
        file_digest = self._source.file_digest(unit.file)
        waiting: dict[str, Any] = {"file_digest": file_digest}
        count, start = 0, time.perf_counter()
        for number, raw in enumerate(self._source.read(unit, self._batch_rows, rows)):
            was_read = time.perf_counter()
            prepared = prepare(raw, duplicates, preprocessors)
            was_prepared = time.perf_counter()
            if number:
                yield _message(unit, work, **waiting)
            count += len(raw)
            waiting |= {
                "number": number,
                "batch": prepared,
                "read_seconds": was_read - start,
                "decode_seconds": was_prepared - was_read,
            }
            start = time.perf_counter()
        if self._source.file_digest(unit.file) != file_digest:
            raise OSError("it was written again while it was read")
        yield _message(unit, work, **waiting, unit_rows=count)


def _in_one_line(error: Exception) -> str:
    return printed(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _message(unit: PairUnit, work: Work, **values: Any) -> pa.Table:
    row = asdict(unit) | {"work": work} | values
    columns = [
        _to_column(row.get(f.name)) if f.name == "batch" else pa.array([row.get(f.name)], f.type) for f in _MESSAGE
    ]
    return pa.table(columns, schema=_MESSAGE)


def _to_column(table: pa.Table | None) -> pa.Array:
    """One binary value that is the table as an Arrow stream, without a further copy."""
    if table is None:
        return pa.nulls(1, pa.large_binary())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data = sink.getvalue()
    ends = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, data])


class Encode:
    """Holds the encoders; hands what they make to the unit's writer.

    Several threads may call it: while one computes, the others unpack their input and hand over their output.
    """

    def __init__(self, stores: Stores, writers: list[Any]) -> None:
        on_gpu = bool(ray.get_gpu_ids()) and torch.cuda.is_available()
        if not on_gpu:
            torch.set_num_threads(cpus_of_this_node())
        self._stores, self._writers, self._pixels = stores, writers, stores.pixels
        self._encoders = stores.load_encoders(torch.device("cuda" if on_gpu else "cpu"))
        self._turn = threading.Lock()
        self._last = time.perf_counter()
        self._compared = all(manifest.precision == "float32" for manifest in stores.manifests)

    def __call__(self, message: pa.Table) -> pa.Table:
        """Take one message; return its outcome."""
        (row,) = message.drop_columns(["batch"]).to_pylist()
        unit = PairUnit(row["file"], row["start"], row["stop"])
        outcome = {"unit": unit.name, "pairs": 0, "rejected": 0} | {n: row[n] for n in OUTCOME.names if n in row}
        writer = self._writers[zlib.crc32(unit.name.encode()) % len(self._writers)]
        if row["error"]:
            ray.get(writer.forget.remote(unit.name))
        else:
            try:
                embedded = self._embed(message["batch"][0], outcome)
            except Exception as error:  # as above
                ray.get(writer.forget.remote(unit.name))
                outcome["error"] = f"{unit.name} cannot be encoded ({_in_one_line(error)})"
                return pa.Table.from_pylist([outcome], OUTCOME)
            if embedded:
                outcome["pairs"] = len(embedded[0])
                outcome["rejected"] = len(embedded[0]) - embedded[0]["reason"].null_count
            refused, seconds = ray.get(
                writer.add.remote(unit, row["work"], embedded, row["unit_rows"], row["file_digest"])
            )
            outcome |= {"error": refused, "hopeless": refused is not None, "write_seconds": seconds}
        return pa.Table.from_pylist([outcome], OUTCOME)

    def _embed(self, batch: pa.Scalar, outcome: dict[str, Any]) -> list[pa.Table]:
        if not batch.is_valid:
            return []
        prepared = pa.ipc.open_stream(batch.as_buffer()).read_all()
        taken = [taken_by(prepared, self._pixels[encoder.name], encoder) for encoder in self._encoders]
        inputs = [given for _, given in taken]
        with self._turn:
            start = time.perf_counter()
            vectors = [
                encode(encoder, given, manifest.dtype)
                for encoder, given, manifest in zip(self._encoders, inputs, self._stores.manifests, strict=True)
            ]
            end = time.perf_counter()
            outcome["encode_seconds"], outcome["wait_seconds"] = end - start, max(0.0, start - self._last)
            if not self._compared and len(inputs[0]):
                outcome["cosines"], self._compared = self._compare(inputs), True
            self._last = time.perf_counter()
        return [with_embeddings(pairs, *both) for (pairs, _), both in zip(taken, vectors, strict=True)]

    def _compare(self, inputs: list[EncoderInputs]) -> list[float]:
        some = [given.first(PAIRS_TO_COMPARE) for given in inputs]
        cosines = [
            cosine_to_float32(encoder, given.pixels, given.tokens)
            for encoder, given in zip(self._encoders, some, strict=True)
        ]
        return [min(cosine.image, cosine.text) for cosine in cosines]


def cpus_of_this_node() -> int:
    """Return how many CPUs Ray has given to the node that this runs on."""
    here = ray.get_runtime_context().get_node_id()
    return max(1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["NodeID"] == here))


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
        return Finished(self._failures, self._committed_again, self._new_seconds(), self._hopeless)

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
                self._write(writer, unit, gathered, parts)
            if gathered.work != "new":
                self._committed_again.add(unit.name)
        except Exception as error:  # a unit that cannot be committed must not take the others with it
            failure = f"{unit.name} cannot be written ({type(error).__name__}: {error})"
            self._failures[unit.name] = failure
            if isinstance(error, OSError) and error.errno in _HOPELESS:
                self._hopeless = failure
        finally:
            self._room.release()
            self._seconds += time.perf_counter() - start

    def _write(
        self, writer: StoreWriter, unit: PairUnit, gathered: _Gathered, parts: tuple[pa.Table, pa.Table]
    ) -> None:
        for attempt in range(_WRITE_ATTEMPTS):
            try:
                if gathered.work == "new":
                    if not writer.has(unit.name):  # another store of this pass may lack it, or another run have made it
                        writer.commit(unit, gathered.file_digest, *parts)
                    return
                replaced = writer.record(unit.name)
                if gathered.work == "pairs":
                    if replaced is None:
                        raise ValueError("its commit record has gone")
                    whole = merge(*writer.read(replaced), *parts)
                    writer.commit(unit, replaced.file_digest, *whole, replaced)
                else:
                    writer.commit(unit, gathered.file_digest, *parts, replaced)
                return
            except OSError as error:
                if error.errno in _HOPELESS or attempt == _WRITE_ATTEMPTS - 1:
                    raise
                time.sleep(2**attempt)
