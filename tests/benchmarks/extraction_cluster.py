"""Many pairs through a Ray cluster that loses a node on the way."""

import json
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.store import EmbeddingStore
from tests.benchmarks import sleeping_encoder
from tests.pairs.made_up_pairs import encoded_image
from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from workflows import embed
from workflows.embed import EmbedConfig

_NODES, _ENCODERS_A_NODE = 4, 2
_PAIRS_A_FILE, _PAIRS_A_UNIT = 10_000, 2_000
_KILLED_AFTER = 0.4
_CHECKED_FILES = 20


def run(pairs: int, folder: Path) -> dict[str, Any]:
    """Embed `pairs` synthetic pairs and check that each is there once; return the measures."""
    _write_pairs(folder / "pairs", pairs)
    units = -(-pairs // _PAIRS_A_UNIT)
    memory = _Memory(folder / "store" / "commits", units)
    config = EmbedConfig(
        pairs=str(folder / "pairs"),
        output=str(folder / "store"),
        encoder=sleeping_encoder.NAME,
        precision="float32",
        rows_per_unit=_PAIRS_A_UNIT,
        actors=((_NODES - 1) * _ENCODERS_A_NODE, _NODES * _ENCODERS_A_NODE),
    )
    with cluster_of(_NODES, cpus=_ENCODERS_A_NODE + 2) as (_, nodes):
        killed = kill_node_once(nodes[-1], lambda: memory.done() >= _KILLED_AFTER * units)
        memory.start()
        start = time.perf_counter()
        (store,) = embed.run(config)
        seconds = time.perf_counter() - start
        assert not killed.is_alive()
    first, last = memory.tenths()
    summary = json.loads((folder / "store" / "summary.json").read_text())
    return {
        "pairs": pairs,
        "nodes": _NODES,
        "encoders": _NODES * _ENCODERS_A_NODE,
        "encoder_pairs_per_second": sleeping_encoder.PAIRS_PER_SECOND,
        "seconds": seconds,
        "pairs_per_second": summary["run"]["pairs_per_second"],
        "pool_utilisation": summary["run"]["encoder_busy"],
        "driver_bytes_first_tenth": first,
        "driver_bytes_last_tenth": last,
        "driver_growth": last / first - 1,
        "checked": _check(store, folder, pairs),
        "run": summary["run"],
    }


def _write_pairs(folder: Path, pairs: int) -> None:
    folder.mkdir(parents=True)
    image = encoded_image("PNG", (2, 2))
    for first in range(0, pairs, _PAIRS_A_FILE):
        numbers = range(first, min(first + _PAIRS_A_FILE, pairs))
        table = pa.table(
            {
                "key": [f"{number:09d}" for number in numbers],
                "image": pa.array([image] * len(numbers), pa.binary()),
                "caption": [f"picture {number}" for number in numbers],
            }
        )
        pq.write_table(table, folder / f"{first // _PAIRS_A_FILE:05d}.parquet")


def _check(store: EmbeddingStore, folder: Path, pairs: int) -> str:
    keys = pq.read_table(folder / "store" / "shards", columns=["key"])["key"]
    assert len(keys) == pairs
    assert len(keys.unique()) == pairs
    for record in store.commits[:: max(1, len(store.commits) // _CHECKED_FILES)]:
        table = store.read_unit(record.unit, ["caption", "text"])
        for caption, row in list(zip(table["caption"].to_pylist(), table["text"].to_pylist(), strict=True))[::100]:
            assert np.array_equal(np.array(row, np.float16), sleeping_encoder.expected(caption).astype(np.float16))
    return f"{pairs:,} keys, each once; embeddings belong to their captions"


class _Memory(threading.Thread):
    """Samples this process's resident memory as commits come in."""

    def __init__(self, commits: Path, units: int) -> None:
        super().__init__(daemon=True)
        self._commits, self._units = commits, units
        self._samples: list[tuple[int, int]] = []

    def done(self) -> int:
        return sum(1 for _ in self._commits.glob("*.json")) if self._commits.exists() else 0

    def run(self) -> None:
        while (done := self.done()) < self._units:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
            self._samples.append((done, resident))
            time.sleep(1)

    def tenths(self) -> tuple[float, float]:
        """Return the median bytes while the first and while the last tenth of the units was committed."""
        tenth = self._units / 10
        first = [resident for done, resident in self._samples if 0 < done <= tenth]
        last = [resident for done, resident in self._samples if done >= self._units - tenth]
        return median(first), median(last)
