"""How fast training is: SAEs a pass, Ray Train against the plain loop, a paper-size run beside overcomplete.

Run it on a machine that does nothing else. Each part adds its measures to `docs/benchmarks/training.json`; those of the
reader are made by `tests.benchmarks.reader`.
"""

import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import PairBatches
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer, TrainingConfig
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.benchmarks.results import add_measures
from workflows import train
from workflows.train import TrainConfig
from workflows.training.training_placement import Workers

_RESULTS = Path("docs/benchmarks/training.json")
_DIM = 512
_WARM_UP_STEPS = 10


@dataclass(frozen=True)
class Several:
    """One, three and six SAEs of the default preset on the same batches, in turn."""

    steps: int = 20
    rounds: int = 3


@dataclass(frozen=True)
class Engine:
    """Two Ray Train workers of one thread each against the plain loop on two threads, at the default preset."""

    pairs: int = 40_000
    steps: int = 120


@dataclass(frozen=True)
class Paper:
    """A paper-size run, projected: 656,000 pairs, d = 512, 4,096 atoms, k = 20, 5 epochs, standard and aligned SAE."""

    steps: int = 200
    peer_steps: int = 5
    pairs: int = 656_000


def several(config: Several) -> dict[str, Any]:
    """Seconds a step by the number of SAEs: medians over the steps of all rounds."""
    images, texts = planted_pairs(20_000, _DIM)
    betas = (0.0, 4e-4, 1e-4, 2e-4, 3e-4, 5e-5)
    times: dict[int, list[float]] = {1: [], 3: [], 6: []}
    waiting: list[float] = []
    for _ in range(config.rounds):
        for number, seconds in times.items():
            settings = TrainingConfig(beta=betas[1:2] if number == 1 else betas[:number], log_every=1)
            found = _step_seconds(settings, images, texts, config.steps, waiting)
            seconds += found
    medians = {number: statistics.median(seconds) for number, seconds in times.items()}
    return {
        "seconds_a_step": medians,
        "of_one": {number: seconds / medians[1] for number, seconds in medians.items()},
        "waiting_for_data": statistics.mean(waiting),
    }


def engine(config: Engine, folder: Path) -> dict[str, Any]:
    """Rows/s of both, past start-up; the plain loop before and after."""
    images, texts = planted_pairs(config.pairs, _DIM)
    store = write_planted_store(folder / "store", images, texts)
    split = EmbeddingStore.open(str(store)).to_arrays("train")
    settings = TrainingConfig(epochs=1, batch_pairs=512, log_every=5, checkpoint_every=10**6)
    steps = min(config.steps, len(split) // settings.batch_pairs)
    plain = [_rows_per_second(settings, split.images, split.texts, steps)]
    train.run(TrainConfig(store=str(store), output=str(folder / "saes"), workers=Workers(2, 2), training=settings))
    with tempfile.TemporaryDirectory() as temporary:
        CheckpointFolder(str(folder / "saes" / "checkpoints")).restore(Path(temporary))
        points = json.loads((Path(temporary) / "history.json").read_text())["points"]
    ray_rows = [m["rows_per_second"] for step, m in points if _WARM_UP_STEPS < step < points[-1][0]]
    ray_waiting = [m["waiting_for_data"] for step, m in points if step > _WARM_UP_STEPS]
    plain.append(_rows_per_second(settings, split.images, split.texts, steps))
    ours = statistics.median(ray_rows)
    return {
        "plain_rows_per_second": plain,
        "ray_rows_per_second": ours,
        "ray_over_plain": ours / statistics.mean(plain),
        "ray_waiting_for_data": statistics.mean(ray_waiting),
        "workers": 2,
    }


def paper(config: Paper) -> dict[str, Any]:
    """Hours of the whole run, from the steps measured."""
    from tests.benchmarks.pursuit_models import Overcomplete, Shape, planted
    from tests.benchmarks.pursuit_models import step as peer_step

    images, texts = planted_pairs(120_000, _DIM)
    waiting: list[float] = []
    seconds = _step_seconds(TrainingConfig(log_every=1), images, texts, config.steps, waiting)
    ours = statistics.median(seconds)
    rows, dictionary = planted(Shape(1024, _DIM, 8 * _DIM, 20))
    peer = Overcomplete(dictionary, 20)
    peer_step(peer, rows)
    times = []
    for _ in range(config.peer_steps):
        start = time.perf_counter()
        peer_step(peer, rows)
        times.append(time.perf_counter() - start)
    theirs = 2 * statistics.median(times)
    steps = 5 * (config.pairs // 512)
    return {
        "steps": steps,
        "ours_seconds_a_step": ours,
        "ours_hours": ours * steps / 3600,
        "ours_waiting_for_data": statistics.mean(waiting),
        "overcomplete_seconds_a_step": theirs,
        "overcomplete_hours": theirs * steps / 3600,
        "ratio": theirs / ours,
    }


class _EnoughError(Exception):
    """The benchmark has seen its steps."""


def _step_seconds(
    config: TrainingConfig, images: np.ndarray, texts: np.ndarray, steps: int, waiting: list[float]
) -> list[float]:
    batches = PairBatches.of_arrays(images, texts, config.batch_pairs, 0)
    trainer = Trainer(replace(config, epochs=-(-(steps + _WARM_UP_STEPS) // batches.steps)), batches, images.shape[1])
    times: list[float] = []

    def report(step: int, metrics: Metrics, _save: SaveCheckpoint | None) -> None:
        times.append(time.perf_counter())
        if step > _WARM_UP_STEPS:
            waiting.append(metrics["waiting_for_data"])
        if step >= steps + _WARM_UP_STEPS:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        trainer.run(report)
    return np.diff(times[_WARM_UP_STEPS - 1 :]).tolist()


def _rows_per_second(config: TrainingConfig, images: np.ndarray, texts: np.ndarray, steps: int) -> float:
    seconds = _step_seconds(replace(config, log_every=1), images, texts, steps, [])
    return 2 * config.batch_pairs / statistics.median(seconds)


def main() -> None:
    """Run one part and add its measures to the file."""
    config = tyro.cli(Several | Engine | Paper, description=__doc__)  # type: ignore[arg-type]
    match config:
        case Several():
            part, measures = "several", several(config)
        case Engine():
            with tempfile.TemporaryDirectory() as folder:
                part, measures = "engine", engine(config, Path(folder))
        case Paper():
            part, measures = "paper", paper(config)
    add_measures(_RESULTS, part, measures)


if __name__ == "__main__":
    main()
