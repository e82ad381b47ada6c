"""How fast `isoenergy apply` is, from Parquet to Parquet, beside the bare encoder on rows in memory.

Both take turns in one process with as many threads, so that what else runs on the machine meets both alike; the
processor's own seconds are counted beside the clock's. Then the whole stage runs once on Ray. From the rate a core it
is reckoned what 400 million rows take on the CPU nodes of `cluster.yaml`. The measures go to
`docs/benchmarks/applying.json`.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from isoenergy import SparseAutoencoder
from isoenergy.applying.application import BATCH_ROWS, Application
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
    """A store of planted float16 pairs, and an SAE of random atoms."""

    pairs: int = 32_768
    per_shard: int = 8192
    dim: int = 512
    atoms: int = 4096
    k: int = 20
    write: str = "codes"
    rounds: int = 3
    threads: int = 2
    on_ray: bool = True


def _taken(function: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor that a function takes."""
    wall, work = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - work


def run(config: Config, folder: Path) -> dict[str, Any]:
    """Return rows a second of both, and their ratio; a row is an image or a text."""
    torch.set_num_threads(config.threads)
    images, texts = planted_pairs(config.pairs, config.dim)
    store = EmbeddingStore.open(str(write_planted_store(folder / "store", images, texts, config.per_shard)))
    sae = SparseAutoencoder(SaeConfig(config.dim, config.atoms, config.k, beta=0.0))
    sae.save(folder / "sae")
    application = Application.fitted(sae, tuple(config.write.split(",")), "float16", normalised=False)
    grams = application.grams(config.pairs)
    rows = {"image": images, "text": texts}

    @torch.no_grad()
    def bare() -> None:
        for modality, given in rows.items():
            for start in range(0, len(given), BATCH_ROWS):
                x = torch.from_numpy(given[start : start + BATCH_ROWS])
                sae.encode(sae.prepare(x, modality), gram=grams[modality])

    def applied() -> None:
        writer = StoreWriter(str(folder / "applied"))
        work = UnitWork(application, Source(store.shards, ("image", "text"), ()), writer)
        outcomes = work([UnitTask(record, None) for record in store.commits], grams)
        assert not any(outcome.error for outcome in outcomes)
        shutil.rmtree(folder / "applied")

    bare()
    applied()  # compiled, and pages of the files in memory
    rounds = [(_taken(bare), _taken(applied)) for _ in range(config.rounds)]
    count = 2 * config.pairs
    by_clock, by_work = ([one[n] / other[n] for one, other in rounds] for n in (0, 1))
    seconds_a_row = statistics.median(other[1] for _, other in rounds) / count
    hours = _ROWS * seconds_a_row / (_NODES * _CORES_A_NODE) / 3600
    measures: dict[str, Any] = {
        **{name: getattr(config, name) for name in ("pairs", "dim", "atoms", "k", "write")},
        "threads": config.threads,
        "bare_rows_per_second": statistics.median(count / one[0] for one, _ in rounds),
        "applied_rows_per_second": statistics.median(count / other[0] for _, other in rounds),
        "ratio_by_the_clock": {"median": statistics.median(by_clock), "rounds": by_clock},
        "ratio_by_processor_seconds": {"median": statistics.median(by_work), "rounds": by_work},
        "rows_per_core_second": 1 / seconds_a_row,
        "hours_for_400M_rows": hours,
        "dollars_for_400M_rows": hours * (_NODES * _DOLLARS_A_NODE_HOUR + _DOLLARS_HEAD_HOUR),
    }
    if config.on_ray:
        asked = ApplyConfig(str(folder / "sae"), store.uri, str(folder / "on-ray"), config.write)
        wall, _ = _taken(lambda: apply.run(asked))
        measures["whole_stage_on_ray_rows_per_second"] = count / wall
    return measures


def main() -> None:
    """Measure and add the measures to the file."""
    config = tyro.cli(Config, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        measures = run(config, Path(folder))
    add_measures(_RESULTS, config.write, measures)


if __name__ == "__main__":
    main()
