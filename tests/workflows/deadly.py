"""Pairs of which one cannot be survived."""

import os
import signal
from collections.abc import Collection, Iterator

from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.source import PairColumns, PairUnit, RawPairs


class DeadlyPairs(ParquetPairs):
    """Parquet files; the process that reads a certain row of one of them ends, as a decoder may at an image."""

    def __init__(self, uri: str, file: str, row: int) -> None:
        super().__init__(uri, PairColumns())
        self._deadly = file, row

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        file, row = self._deadly
        for raw in super().read(unit, rows_per_batch, rows):
            if unit.file == file and row in raw.rows:
                os.kill(os.getpid(), signal.SIGSEGV)
            yield raw
