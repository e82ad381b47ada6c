"""A worker of `isoenergy apply` that ends at one unit, in a module that Ray's workers can import."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from isoenergy.store.manifest import CommitRecord
from workflows.applying.applying_units import UnitWork


@dataclass(frozen=True)
class DyingWork(UnitWork):
    """Ends its process at a unit, the first time, and leaves a mark."""

    mark: Path = Path()
    unit: str = ""

    def columns(
        self, table: pa.Table, record: CommitRecord, grams: Mapping[str, Tensor | None]
    ) -> tuple[pa.Table, pa.Table]:
        if record.unit == self.unit and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().columns(table, record, grams)
