"""The decoding tasks of `isoenergy embed`.

A message is one batch of one unit in one row of a block, so that Ray may bundle and split blocks as it likes and the
encoder sees the same batches in every run.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from isoenergy.extraction.embedding import prepare
from isoenergy.pairs.source import PairSource, PairUnit
from workflows.extraction.extraction_stores import Stores, Work, in_one_line

_LOWEST_PRIORITY = 19
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


class Decode:
    """Reads units and prepares their pairs, a batch at a time."""

    def __init__(self, source: PairSource, stores: Stores, batch_rows: int, polite: bool) -> None:
        """`polite`: give way to the encoder, which shares the CPUs."""
        self._source, self._stores, self._batch_rows, self._polite = source, stores, batch_rows, polite

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Take rows of units, their work and their duplicates; yield messages."""
        if self._polite:
            os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)  # Ray's workers start at 15
        for item in items.to_pylist():
            duplicates, work = frozenset(item.pop("duplicates")), item.pop("work")
            unit = PairUnit(**item)
            try:
                yield from self._messages(unit, work, duplicates)
            except Exception as error:  # what a unit raises costs that unit alone
                yield _message(unit, work, error=f"{unit.file} cannot be read ({in_one_line(error)})")

    def _messages(self, unit: PairUnit, work: Work, duplicates: frozenset[int]) -> Iterator[pa.Table]:
        preprocessors = self._stores.load_preprocessors()
        if torch := sys.modules.get("torch"):  # an encoder's own preprocessing may be torch's
            torch.set_num_threads(1)
        rows = self._stores.rows_to_retry(unit.name) if work == "pairs" else None
        file_digest = self._source.file_digest(unit.file)
        waiting: dict[str, Any] = {"file_digest": file_digest}
        count, start = 0, time.perf_counter()
        for number, raw in enumerate(self._source.read(unit, self._batch_rows, rows)):
            was_read = time.perf_counter()
            prepared = prepare(raw, duplicates, preprocessors, self._stores.image_reading)
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
