"""How fast training's reader is, in one process: from memory, and streaming from local Parquet.

Run it on a machine that does nothing else. The measures go to `docs/benchmarks/training.json`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.store import EmbeddingStore, PairBatches, PairIndex
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import PairRows, ShardRows, open_rows
from tests.benchmarks.planted_store import write_planted_store
from tests.benchmarks.results import add_measures

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
    random = np.random.default_rng(0)
    images, texts = (
        random.standard_normal((config.pairs, config.dim), np.float32).astype(np.float16) for _ in range(2)
    )
    return EmbeddingStore.open(str(write_planted_store(folder, images, texts, config.per_shard)))


def gigabytes_per_second(batches: PairBatches, rounds: int) -> dict[str, Any]:
    """Read whole epochs, each batch once and nothing done with it; the first, which warms caches up, is not counted."""
    measures = []
    for epoch in range(rounds + 1):
        start = time.perf_counter()
        read = sum(_delivered(batches.epoch(epoch)))
        measures.append(read / (time.perf_counter() - start) / 1e9)
    return {"median": statistics.median(measures[1:]), "rounds": measures[1:], "first": measures[0]}


def _delivered(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[int]:
    for images, texts in batches:
        yield images.nbytes + texts.nbytes


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Return the measures; GB are 10^9 bytes of float16 rows."""
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
    """Measure and add the measures to the file."""
    config = tyro.cli(Config, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        measures = run(config, Path(folder))
    add_measures(_RESULTS, "reader", measures)


if __name__ == "__main__":
    main()
