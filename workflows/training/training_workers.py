"""What each worker of a training does, wherever it runs."""

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from isoenergy.distributed import NodeGroup
from isoenergy.sae.group import SaeGroup
from isoenergy.sae.spoken_names import spoken_sae
from isoenergy.settings.residence import Residence
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.store.batches import Batches
from isoenergy.training.beta_search import AutomaticBeta, BetaCurve, BetaMeasures, search_beta
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.trainer import DivergedError, Metrics, RawPairs, SaveCheckpoint, Trainer
from isoenergy.training.training_config import TrainingConfig, beta_text
from isoenergy.training.training_metrics import mean_r2, notices, r2_by_modality
from workflows.tracking import mlflow_runs
from workflows.tracking.metric_stream import MetricStream
from workflows.training.training_data import (
    FirstShards,
    first_pairs,
    means_of,
    open_batches,
    read_indices,
    widths_of,
)
from workflows.training.training_engine import Progress, Seat
from workflows.training.training_stores import TrainingStores

CHECKPOINTS = "checkpoints"
CURVE_FILE = "beta-search.json"
HISTORY_FILE = "history.json"
_POINTS_KEPT = 4000


@dataclass(frozen=True)
class WorkerTask:
    """What a worker is to do."""

    stores: TrainingStores
    output: str
    training: TrainingConfig
    residence: Residence
    validation: tuple[FirstShards, ...]
    """What the first worker measures on; none: nothing."""
    keep_checkpoints: int
    run: mlflow_runs.Run
    progress: Progress


def train_worker(task: WorkerTask, seat: Seat) -> None:
    """Look for β if that is asked for, then train from the newest checkpoint, or the beginning, to the end."""
    node, device, rank = NodeGroup.form(), seat.device, seat.rank
    indices = read_indices(task.stores, task.output)
    batches = open_batches(indices, task.training, task.residence, device, node, rank, seat.workers)
    widths = widths_of(indices)
    validation: RawPairs | None = None
    if task.validation:
        empty = tuple(torch.empty(0, width) for width in widths.values())
        validation = first_pairs(task.validation, task.training.validation_pairs) if rank == 0 else empty
    worker = _Worker(task, batches, widths, device, node, means_of(indices), validation, rank)
    training = task.training
    if isinstance(training.beta, AutomaticBeta):
        training = replace(training, beta=worker.find_beta(training.beta))
    worker.train(training)


@dataclass
class _Worker:
    task: WorkerTask
    batches: Batches
    widths: dict[str, int]
    device: torch.device
    node: NodeGroup
    means: dict[str, torch.Tensor]
    validation: RawPairs | None
    rank: int

    def train(self, config: TrainingConfig) -> None:
        """Train to the end; the first worker reports and keeps checkpoints."""
        trainer = self._trainer(config)
        checkpoints = CheckpointFolder(f"{self.task.output}/{CHECKPOINTS}", self.task.keep_checkpoints)
        history = History(self.task.run) if self.rank == 0 else None
        with tempfile.TemporaryDirectory() as folder:
            record = checkpoints.restore(Path(folder))
            if record is not None:
                trainer.load(Path(folder))
            if record is not None and history is not None:
                history.load(Path(folder))
                newest = max(known.step for known in checkpoints.records())
                spoilt = f"; the checkpoint of step {newest} is spoilt" if newest > record.step else ""
                self.task.progress.say(f"going on from step {record.step} of {trainer.steps}{spoilt}")
        seen: set[tuple[str, str]] = set()

        def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
            if history is None:
                return
            history.add(step, metrics)
            self.task.progress.set(step, trainer.steps, progress_text(metrics, trainer.group.names))
            baseline = next(
                (n for n, s in zip(trainer.group.names, trainer.group.saes, strict=False) if s.config.beta == 0), None
            )
            warming_up = step < max(2 * trainer.dead_after, trainer.steps // 10)
            for notice in notices(metrics, trainer.group.names, config.atoms_for(self.widths), baseline, warming_up):
                if (notice.sae, notice.code) not in seen:
                    seen.add((notice.sae, notice.code))
                    self.task.progress.say(f"warning, step {step}: {notice}")
            if save is not None:
                with tempfile.TemporaryDirectory() as folder:
                    save(Path(folder))
                    history.save(Path(folder))
                    checkpoints.put(step, Path(folder), score(metrics, trainer.group.names), self.task.run.id)

        if history is not None:
            self.task.progress.set(0 if record is None else record.step, trainer.steps)
        trainer.run(report)
        if history is not None:
            history.close()

    def find_beta(self, settings: AutomaticBeta) -> tuple[float, ...]:
        """Return 0 and the β that the search chose; what it has tried is kept, and not tried again."""
        filesystem, root = open_filesystem(self.task.output)
        path = f"{root}/{CURVE_FILE}"
        known: dict[str, list[dict[str, float]]] = {}
        if filesystem.exists(path):
            known = json.loads(filesystem.cat_file(path))["attempts"]

        def attempt(betas: Sequence[float]) -> list[BetaMeasures]:
            name = beta_text(tuple(betas))
            if name not in known:
                if self.rank == 0:
                    self.task.progress.say(f"looking for beta: a short training of each of {name}")
                known[name] = [asdict(measures) for measures in self._short_training(tuple(betas), settings.epochs)]
                if self.rank == 0:
                    text = json.dumps({"attempts": known}, indent=2)
                    write_atomically(filesystem, path, text.encode())
            return [BetaMeasures(**measures) for measures in known[name]]

        curve: BetaCurve = search_beta(settings, attempt)
        if self.rank == 0:
            text = json.dumps({"attempts": known, "chosen": curve.chosen}, indent=2)
            write_atomically(filesystem, path, text.encode())
            found = f"beta = {curve.chosen:g}" if curve.chosen else "no beta above 0 keeps within the bounds"
            self.task.progress.say(f"{found}, by short trainings:\n{curve.table()}")
        return (0.0, curve.chosen) if curve.chosen > 0 else (0.0,)

    def _short_training(self, betas: tuple[float, ...], epochs: int) -> list[BetaMeasures]:
        config = replace(self.task.training, beta=betas, epochs=epochs, seeds=1)
        trainer = self._trainer(config)
        last: Metrics = {}

        def show(step: int) -> None:
            if self.rank == 0:
                self.task.progress.set(step, trainer.steps, f"looking for beta among {beta_text(betas)}")

        def report(step: int, metrics: Metrics, _save: SaveCheckpoint | None) -> None:
            last.update(metrics)
            show(step)

        show(0)
        try:
            trainer.run(report)
        except DivergedError:  # all workers have seen the same; which β was to blame, each alone will tell
            if len(betas) > 1:
                return [measures for beta in betas for measures in self._short_training((beta,), epochs)]
            return [BetaMeasures(betas[0], math.nan, math.nan, math.nan)]
        return [
            BetaMeasures(
                beta=beta,
                r2=last.get(f"{name}/validation_r2", mean_r2(last, name)),
                always_on_energy=last[f"{name}/always_on_energy"],
                bimodal_energy=last[f"{name}/bimodal_energy"],
            )
            for beta, name in zip(betas, trainer.group.names, strict=True)
        ]

    def _trainer(self, config: TrainingConfig) -> Trainer:
        def wrap(module: nn.Module) -> nn.Module:
            return distributed(module, self.device, self.node, self.batches.workers, config.batch_pairs)

        return Trainer(config, self.batches, self.widths, self.device, wrap, self.means, self.validation)


def distributed(module: nn.Module, device: torch.device, node: NodeGroup, workers: int, batch_pairs: int) -> nn.Module:
    """Return a module that `workers` processes train together, on `batch_pairs` pairs a step.

    On CPUs those of a node compute one Gram matrix together.
    """
    if isinstance(module, SaeGroup) and device.type == "cpu":
        module.share_grams(node, pairs=-(-batch_pairs // workers))
    if workers == 1:
        return module
    return nn.parallel.DistributedDataParallel(
        module,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )


class History:
    """The metrics of a run by step, thinned out when they are many; sent to MLflow from a thread of its own."""

    def __init__(self, run: mlflow_runs.Run) -> None:
        self.points: list[tuple[int, Metrics]] = []
        self._sent = run.last_step("epoch")
        self._stream = MetricStream(run)

    def add(self, step: int, metrics: Metrics) -> None:
        """Add a report."""
        self.points.append((step, metrics))
        if step > self._sent:  # else a run that was cut short has sent it
            self._stream.add(step, metrics)
        if len(self.points) > _POINTS_KEPT:
            self.points = [*self.points[:-1:2], self.points[-1]]

    def save(self, folder: Path) -> None:
        """Write what there is beside a checkpoint, and what MLflow has not taken yet."""
        state = {"points": self.points, "unsent": self._stream.unsent()}
        (folder / HISTORY_FILE).write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Take up what `save` wrote."""
        state = json.loads((folder / HISTORY_FILE).read_text())
        self.points = [(step, metrics) for step, metrics in state["points"]]
        for step, metrics in state["unsent"]:
            if step > self._sent:
                self._stream.add(step, metrics)

    def close(self) -> None:
        """Send what is left."""
        self._stream.close()


def score(metrics: Metrics, names: Sequence[str]) -> float:
    """Return the mean R² of the SAEs: on the validation pairs, or on the last training steps where there are none."""

    def one(name: str) -> float:
        return metrics.get(f"{name}/validation_r2", mean_r2(metrics, name))

    return sum(map(one, names)) / len(names)


def progress_text(metrics: Metrics, names: Sequence[str]) -> str:
    """Return what the progress line says: the last SAE's measures, the one that is aligned most, and the speed."""
    name = names[-1]

    def of(key: str) -> float:
        return metrics[f"{name}/{key}"]

    r2 = ", ".join(f"{modality} {value:.3f}" for modality, value in r2_by_modality(metrics, name).items())
    alignment = f"{of('alignment'):+.3f}".replace("-", "−")
    return (
        f"{spoken_sae(name)}: R² of {r2}; {of('l0'):.1f} atoms a row, {of('dead_atoms'):,.0f} dead, alignment "
        f"{alignment}; {metrics['rows_per_second']:,.0f} rows/s, "
        f"{metrics['waiting_for_data']:.0%} of the time waiting for data"
    )
