"""The encoder actors of `isoenergy embed`."""

import threading
import time
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa
import torch

from isoenergy.encoders.precision import cosine_to_float32
from isoenergy.extraction.embedding import EncoderInputs, encode_together, read_together, taken_by, with_embeddings
from isoenergy.extraction.token_rows import Rows
from isoenergy.pairs.source import PairUnit
from workflows.extraction.extraction_stores import Stores, Work, in_one_line

PAIRS_TO_COMPARE = 32
"""Of bfloat16 embeddings with float32 ones."""
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


class UnitWriter(Protocol):
    """What gathers the batches of some units and commits them: see `extraction_writing.Writer`."""

    def add(
        self, unit: PairUnit, work: Work, tables: list[pa.Table], rows: int | None, file_digest: str
    ) -> tuple[str | None, float]:
        """Take a batch."""
        ...

    def forget(self, unit: str) -> None:
        """Give up what has come of a unit."""
        ...


class Encode:
    """Holds the encoders; hands what they make to the unit's writer.

    Several threads may call it: while one computes, the others unpack their input and hand over their output.
    """

    def __init__(self, stores: Stores, writers: Sequence[UnitWriter], device: torch.device) -> None:
        self._stores, self._writers, self._pixels = stores, writers, stores.pixels
        self._encoders = stores.load_encoders(device)
        self._passes, self._dtype = read_together(self._encoders), stores.manifests[0].dtype
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
            writer.forget(unit.name)
        else:
            try:
                embedded = self._embed(message["batch"][0], outcome)
            except Exception as error:  # what a unit raises costs that unit alone
                writer.forget(unit.name)
                outcome["error"] = f"{unit.name} cannot be encoded ({in_one_line(error)})"
                return pa.Table.from_pylist([outcome], OUTCOME)
            if embedded:
                outcome["pairs"] = len(embedded[0])
                outcome["rejected"] = len(embedded[0]) - embedded[0]["reason"].null_count
            refused, seconds = writer.add(unit, row["work"], embedded, row["unit_rows"], row["file_digest"])
            outcome |= {"error": refused, "hopeless": refused is not None, "write_seconds": seconds}
        return pa.Table.from_pylist([outcome], OUTCOME)

    def _embed(self, batch: pa.Scalar, outcome: dict[str, Any]) -> list[pa.Table]:
        if not batch.is_valid:
            return []
        prepared = pa.ipc.open_stream(batch.as_buffer()).read_all()
        taken: dict[int, tuple[pa.Table, EncoderInputs]] = {}
        for together in self._passes:
            first = self._encoders[together[0]]
            taken |= dict.fromkeys(together, taken_by(prepared, self._pixels[first.name], first))
        inputs = [taken[number][1] for number in range(len(self._encoders))]
        vectors: dict[int, tuple[Rows, Rows]] = {}
        with self._turn:
            start = time.perf_counter()
            for together in self._passes:
                encoders = [self._encoders[number] for number in together]
                made = encode_together(encoders, inputs[together[0]], self._dtype)
                vectors |= dict(zip(together, made, strict=True))
            end = time.perf_counter()
            outcome["encode_seconds"], outcome["wait_seconds"] = end - start, max(0.0, start - self._last)
            if not self._compared and len(inputs[0]):
                outcome["cosines"], self._compared = self._compare(inputs), True
            self._last = time.perf_counter()
        return [with_embeddings(taken[number][0], *vectors[number]) for number in range(len(self._encoders))]

    def _compare(self, inputs: list[EncoderInputs]) -> list[float]:
        some = [given.first(PAIRS_TO_COMPARE) for given in inputs]
        cosines = [
            cosine_to_float32(encoder, given.pixels, given.tokens)
            for encoder, given in zip(self._encoders, some, strict=True)
        ]
        return [min(cosine.image, cosine.text) for cosine in cosines]
