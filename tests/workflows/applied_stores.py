"""What tests of `isoenergy apply` begin with: a small store and an autoencoder for it, and a run that ends early."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import torch

from isoenergy import SparseAutoencoder
from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema
from tests.benchmarks.planted_store import planted_pairs
from tests.store.small_store import MANIFEST
from workflows.applying.applying_engines import ApplyingHere, Bundle, Report
from workflows.applying.applying_units import UnitWork

DIM, ATOMS, K, UNITS, ROWS = 12, 24, 4, 5, 30


def write_sae(folder: Path, seed: int = 1) -> Path:
    """Of random atoms."""
    SparseAutoencoder(SaeConfig(DIM, ATOMS, K, beta=0.0), torch.Generator().manual_seed(seed)).save(folder)
    return folder


def fill_store(
    folder: Path, seed: int = 0, units: int = UNITS, file: str = "pairs.parquet", first: int = 0
) -> EmbeddingStore:
    """Of five units, or so many, the first ones there already, with a column that passes through."""
    images, texts = planted_pairs(units * ROWS, DIM, seed)
    passed = pa.schema([("url", pa.string()), ("row", pa.int32())])
    manifest = dataclasses.replace(
        MANIFEST, dim=DIM, units=units, passed_through={field.name: str(field.type) for field in passed}
    )
    writer = StoreWriter(str(folder))
    writer.begin(manifest, [file])
    for start in range(first * ROWS, units * ROWS, ROWS):
        rows = list(range(start, start + ROWS))
        keys = [f"{row:04d}" for row in rows]
        vectors = [
            pa.FixedSizeListArray.from_arrays(each[start : start + ROWS].ravel(), DIM) for each in (images, texts)
        ]
        own = [keys, rows, [split_of(key) for key in keys], [f"caption {row}" for row in rows], *vectors]
        table = pa.table(
            [*own, [f"https://a/{row}" for row in rows], rows], schema=shard_schema(DIM, "float16", passed)
        )
        writer.commit(PairUnit(file, start, start + ROWS), "digest", table, REJECTED.empty_table())
    return EmbeddingStore.open(str(folder))


class Ends(ApplyingHere):
    """Ends in the middle, as by Ctrl-C."""

    def __init__(self, after: int) -> None:
        self._after = after

    def run(self, work: UnitWork, bundles: Sequence[Bundle], rows: int, report: Report) -> None:
        def count(outcomes: list) -> None:
            report(outcomes)
            self._after -= len(outcomes)
            if self._after <= 0:
                raise KeyboardInterrupt

        super().run(work, [[task] for bundle in bundles for task in bundle], rows, count)
