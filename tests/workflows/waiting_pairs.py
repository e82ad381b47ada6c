"""Pairs of which the last come only once something has happened."""

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.source import PairColumns, PairUnit, RawPairs

_SECONDS_BETWEEN_LOOKS = 0.02


class WaitingPairs(ParquetPairs):
    """Parquet files; whoever reads a certain one of them waits until another file is there."""

    def __init__(self, uri: str, file: str, awaited: Path) -> None:
        super().__init__(uri, PairColumns())
        self._file, self._awaited = file, awaited

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        while unit.file == self._file and not self._awaited.exists():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        yield from super().read(unit, rows_per_batch, rows)
