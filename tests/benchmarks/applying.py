"""How fast `isoenergy apply` is, from Parquet to Parquet, beside the bare encoder on rows in memory.

One worker, as there is one a CPU: both take turns in one process with one thread, so that what else runs on the machine
meets both alike, and the processor's own seconds are counted beside the clock's. Then the whole stage on Ray, on all
CPUs, by the clock, beside the bare encoder on as many threads, just before and after: workers have been started by a
smaller run, as they are for most of a large one. That needs an idle machine. From the rate a core it is reckoned what
400 million rows take on the CPU nodes of `cluster.yaml`. The measures go to `docs/benchmarks/applying.json`.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import tyro

from isoenergy import SparseAutoencoder
from isoenergy.applying.application import BATCH_ROWS, Application, Grams
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore, StoreWriter
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.benchmarks.results import add_measures
from workflows import apply
from workflows.applying.applying_units import Source, UnitTask, UnitWork
from workflows.settings.apply_settings import ApplyConfig

_RESULTS = Path("docs/benchmarks/applying.json")
_ROWS = 400e6
_NODES, _CORES_A_NODE, _DOLLARS_A_NODE_HOUR, _DOLLARS_HEAD_HOUR = 4, 32, 0.6, 0.2
"""`cpu_spot` of cluster.yaml, and what is said there that it costs."""


@dataclass(frozen=True)
class Config:
    """Stores of planted float16 pairs, and an SAE of random atoms."""

    pairs: int = 16_384
    """Of one worker."""
    pairs_on_ray: int = 262_144
    """Of the whole stage; 0: it is not run."""
    per_shard: int = 8192
    dim: int = 512
    atoms: int = 4096
    k: int = 20
    write: str = "codes"
    rounds: int = 5


def _taken(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor that a function takes."""
    wall, work = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - work


def _spread(numbers: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(numbers), "rounds": numbers}


class Bench:
    """The stores, the autoencoder, and what is timed."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._rows = dict(zip(("image", "text"), planted_pairs(config.pairs, config.dim), strict=True))
        self._sae = SparseAutoencoder(SaeConfig(config.dim, config.atoms, config.k, beta=0.0))
        self._sae.save(folder / "sae")
        writes = tuple(config.write.split(","))
        self._application = Application.fitted(self._sae, writes, "float16", normalised=False)
        self._grams: Grams = self._application.grams(config.pairs)
        self._store = self._written("store", *self._rows.values())

    def _written(self, name: str, images: np.ndarray, texts: np.ndarray) -> EmbeddingStore:
        return EmbeddingStore.open(str(write_planted_store(self._folder / name, images, texts, self._config.per_shard)))

    @torch.no_grad()
    def _bare(self) -> None:
        for modality, given in self._rows.items():
            for start in range(0, len(given), BATCH_ROWS):
                x = torch.from_numpy(given[start : start + BATCH_ROWS])
                self._sae.encode(self._sae.prepare(x, modality), gram=self._grams[modality])

    def _applied(self) -> None:
        writer = StoreWriter(str(self._folder / "applied"))
        work = UnitWork(self._application, Source(self._store.shards, ("image", "text"), ()), writer)
        outcomes = work([UnitTask(record, None) for record in self._store.commits], self._grams)
        assert not any(outcome.error for outcome in outcomes)
        shutil.rmtree(self._folder / "applied")

    def one_worker(self) -> dict[str, Any]:
        """Return rows a second of both, and their ratio; a row is an image or a text."""
        torch.set_num_threads(1)
        pa.set_cpu_count(1)
        self._bare()
        self._applied()  # compiled, and pages of the files in memory
        rounds = [(_taken(self._bare), _taken(self._applied)) for _ in range(self._config.rounds)]
        count = 2 * self._config.pairs
        seconds_a_row = statistics.median(other[1] for _, other in rounds) / count
        hours = _ROWS * seconds_a_row / (_NODES * _CORES_A_NODE) / 3600
        return {
            "bare_rows_per_second": statistics.median(count / one[0] for one, _ in rounds),
            "applied_rows_per_second": statistics.median(count / other[0] for _, other in rounds),
            "ratio_by_the_clock": _spread([one[0] / other[0] for one, other in rounds]),
            "ratio_by_processor_seconds": _spread([one[1] / other[1] for one, other in rounds]),
            "rows_per_core_second": 1 / seconds_a_row,
            "hours_for_400M_rows": hours,
            "dollars_for_400M_rows": hours * (_NODES * _DOLLARS_A_NODE_HOUR + _DOLLARS_HEAD_HOUR),
        }

    def whole_stage(self) -> dict[str, Any]:
        """Return rows a second of the stage on all CPUs, and of the bare encoder on as many threads."""
        self._on_ray(self._store, "first")
        large = self._written("large", *planted_pairs(self._config.pairs_on_ray, self._config.dim))
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        before = [_taken(self._bare)[0] for _ in range(self._config.rounds)]
        applied = self._on_ray(large, "second")
        after = [_taken(self._bare)[0] for _ in range(self._config.rounds)]
        bare = 2 * self._config.pairs / statistics.median(before + after)
        return {"bare_rows_per_second": bare, "applied_rows_per_second": applied, "ratio_by_the_clock": applied / bare}

    def _on_ray(self, store: EmbeddingStore, name: str) -> float:
        output = self._folder / name
        apply.run(ApplyConfig(str(self._folder / "sae"), store.uri, str(output), self._config.write))
        pairs_a_second: float = json.loads((output / "summary.json").read_text())["run"]["pairs_per_second"]
        return 2 * pairs_a_second


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Return what is measured of both."""
    bench = Bench(config, folder)
    measures: dict[str, Any] = {name: getattr(config, name) for name in ("dim", "atoms", "k", "write")}
    measures["one_worker"] = {"pairs": config.pairs, **bench.one_worker()}
    if config.pairs_on_ray:
        measures["whole_stage"] = {"pairs": config.pairs_on_ray, **bench.whole_stage()}
    return measures


def main() -> None:
    """Measure and add the measures to the file."""
    config = tyro.cli(Config, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        measures = run(config, Path(folder))
    add_measures(_RESULTS, config.write, measures)


if __name__ == "__main__":
    main()
