"""How fast training's reader is, in one process: from memory, and streaming from local Parquet.

Run it on a machine that does nothing else. The figures go to `docs/benchmarks/training.json`.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import tyro
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.store import EmbeddingStore, Manifest, PairBatches, PairIndex, StoreWriter
from isoenergy.store.order import PairOrder
from isoenergy.store.rows import PairRows, ShardRows, open_rows
from isoenergy.store.schema import REJECTED, shard_schema

_RESULTS = Path("docs/benchmarks/training.json")
_FILE = "pairs.parquet"


@dataclass(frozen=True)
class Config:
    """A store of random float16 embeddings, and how it is read."""

    pairs: int = 400_000
    per_shard: int = 2048
    dim: int = 512
    batch_pairs: int = 512
    rounds: int = 5


def make_store(config: Config, folder: Path) -> EmbeddingStore:
    """Fill a store in `folder`, of all splits, as `isoenergy embed` would."""
    units = [
        PairUnit(_FILE, start, min(start + config.per_shard, config.pairs))
        for start in range(0, config.pairs, config.per_shard)
    ]
    manifest = Manifest(
        encoder="none",
        encoder_digest="",
        preprocessing={},
        precision="float32",
        dim=config.dim,
        dtype="float16",
        source=_FILE,
        source_images="",
        source_format="parquet",
        columns={"key": "key", "image": "image", "caption": "caption"},
        passed_through={},
        rows_per_unit=config.per_shard,
        batch_rows=config.per_shard,
        units=len(units),
        software={},
    )
    writer = StoreWriter(str(folder))
    writer.begin(manifest, [_FILE])
    random = np.random.default_rng(0)
    schema = shard_schema(config.dim, "float16", pa.schema([]))
    for unit in units:
        rows = range(unit.start, unit.stop)
        keys = [str(row) for row in rows]
        numbers = random.standard_normal((2, len(rows) * config.dim), np.float32).astype(np.float16)
        image, text = (pa.FixedSizeListArray.from_arrays(part, config.dim) for part in numbers)
        columns = {
            "key": keys,
            "row": list(rows),
            "split": [split_of(key) for key in keys],
            "caption": [f"the caption of pair {key}" for key in keys],
            "image": image,
            "text": text,
        }
        writer.commit(unit, "", pa.table(columns, schema=schema), REJECTED.empty_table())
    return EmbeddingStore.open(str(folder))


def gigabytes_per_second(batches: PairBatches, rounds: int) -> dict[str, Any]:
    """Read whole epochs, each batch once and nothing done with it; the first, which warms caches up, is not counted."""
    figures = []
    for epoch in range(rounds + 1):
        start = time.perf_counter()
        read = sum(_delivered(batches.epoch(epoch)))
        figures.append(read / (time.perf_counter() - start) / 1e9)
    return {"median": statistics.median(figures[1:]), "rounds": figures[1:], "first": figures[0]}


def _delivered(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[int]:
    for images, texts in batches:
        yield images.nbytes + texts.nbytes


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Return the figures; GB are 10^9 bytes of float16 rows."""
    store, making = _timed(lambda: make_store(config, folder))
    index, surveying = _timed(lambda: PairIndex.build(store, "train"))
    order = PairOrder(index.starts, config.batch_pairs, seed=0)

    def measured(rows: PairRows) -> dict[str, Any]:
        return gigabytes_per_second(PairBatches(order, rows), config.rounds)

    streaming = measured(ShardRows(index))
    in_memory, loading = _timed(lambda: open_rows(index, "memory", torch.device("cpu"), NodeGroup()))
    return {
        "train_pairs": len(index),
        "dim": config.dim,
        "batch_pairs": config.batch_pairs,
        "pairs_a_shard": config.per_shard,
        "gigabytes": index.nbytes / 1e9,
        "memory_gigabytes_per_second": measured(in_memory),
        "streaming_gigabytes_per_second": streaming,
        "loading_gigabytes_per_second": index.nbytes / loading / 1e9,
        "surveying_gigabytes_per_second": index.nbytes / surveying / 1e9,
        "making_the_store_seconds": making,
    }


def main() -> None:
    """Measure and add the figures to the file."""
    config = tyro.cli(Config, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(config, Path(folder))
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}
    results = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {}
    results["reader"] = figures | {"machine": machine}
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(results, indent=2, default=float) + "\n")
    print(json.dumps(results["reader"], indent=2, default=float))


if __name__ == "__main__":
    main()
