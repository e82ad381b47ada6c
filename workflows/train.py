"""`isoenergy train`: a standard and an aligned sparse autoencoder, on Ray Train."""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import ray.train
import ray.train.torch
import tyro
from fsspec.implementations.local import LocalFileSystem
from ray.actor import ActorHandle

from isoenergy.differences import differing_fields
from isoenergy.errors import InputError
from isoenergy.files import write_atomically
from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import require_batches
from isoenergy.training import Metrics, SaveCheckpoint, Trainer, TrainingConfig, sae_name
from workflows import engine, presets, tracking
from workflows.command import run_command
from workflows.progress import remote_progress

_KEPT_CHECKPOINTS = 2
_RESTARTS = 3
_PLAN_FILE = "training.json"


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, where to."""

    store: str = tyro.MISSING
    """Embedding store that `isoenergy embed` made."""
    output: Path = Path("runs/saes")
    """Folder for the SAEs and the checkpoints, seen by all nodes; an interrupted run goes on from there."""
    workers: int = 2
    """Data-parallel workers; the result does not depend on their number."""
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    dry_run: bool = False
    """Print the plan and stop."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers must be at least 1, got {self.workers}")


@dataclass(frozen=True)
class _WorkerTask:
    store: str
    training: TrainingConfig
    run: tracking.Run
    progress: ActorHandle


def sae_folders(output: Path, training: TrainingConfig) -> list[Path]:
    """Return where `run` leaves the SAE of each β."""
    return [output / sae_name(beta) for beta in training.betas]


def run(config: TrainConfig, parent: tracking.Run | None = None) -> list[Path]:
    """Train, or continue, or find it done; return the SAEs' folders in the order of the betas."""
    store = EmbeddingStore.open(config.store)
    store.require_complete()
    require_batches(store.pairs_in("train"), config.training.batch_pairs, config.workers)
    folders = sae_folders(config.output, config.training)
    if config.dry_run:
        atoms = config.training.expansion * store.manifest.dim
        print(
            f"{len(folders)} SAEs of {atoms:,} atoms, k = {config.training.k}, on {store.pairs_in('train'):,} "
            f"train pairs, {config.training.epochs} epochs of batches of {config.training.batch_pairs}, "
            f"{config.workers} workers"
        )
        return folders
    _remember_plan(config, store)
    if all(folder.is_dir() for folder in folders):
        print(f"train: done before, in {config.output}")
        return folders
    print(f"train: {', '.join(folder.name for folder in folders)}, on {config.workers} workers, to {config.output}")
    with tracking.stage("train", config, str(config.output), parent) as stage:
        resources = engine.connect()
        with remote_progress("train", "steps") as progress:
            result = ray.train.torch.TorchTrainer(
                _train_worker,
                train_loop_config={"task": _WorkerTask(store.uri, config.training, stage, progress)},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=config.workers,
                    use_gpu=resources.get("GPU", 0) >= config.workers,
                    resources_per_worker={"CPU": min(1.0, resources["CPU"] / config.workers)},
                ),
                run_config=ray.train.RunConfig(
                    name="checkpoints",
                    storage_path=str(config.output.absolute()),
                    checkpoint_config=ray.train.CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
                    failure_config=ray.train.FailureConfig(max_failures=_RESTARTS),
                ),
            ).fit()
        assert result.checkpoint is not None  # the last report always has one
        with result.checkpoint.as_directory() as checkpoint:
            for folder in folders:
                _publish(Path(checkpoint) / folder.name, folder)
        stage.tags({"store_fingerprint": store.fingerprint})
    return folders


def _remember_plan(config: TrainConfig, store: EmbeddingStore) -> None:
    """Write down what `output` is for; raise InputError, naming the fields that differ, if it is for something else."""
    plan = {"store": store.fingerprint, **asdict(config.training)}
    file = config.output / _PLAN_FILE
    try:
        if file.exists():
            differences = differing_fields(json.loads(file.read_text()), plan)
            if differences:
                raise InputError(f"{config.output} holds another training: {differences}; give another --output")
        else:
            write_atomically(LocalFileSystem(), str(file.absolute()), json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise InputError(f"{config.output} cannot be written ({error}); give an output folder that can") from error


def _publish(trained: Path, folder: Path) -> None:
    """Copy a finished SAE to its place, whole or not at all."""
    if folder.is_dir():  # put there whole by a run that ended before the last one was
        return
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    shutil.copytree(trained, temporary, dirs_exist_ok=True)
    temporary.chmod(0o755)
    temporary.rename(folder)


def _train_worker(settings: dict[str, _WorkerTask]) -> None:
    task = settings["task"]
    context = ray.train.get_context()
    store = EmbeddingStore.open(task.store)
    batches = store.batches(
        "train",
        task.training.batch_pairs,
        task.training.seed,
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
    )
    trainer = Trainer(task.training, batches, ray.train.torch.get_device(), ray.train.torch.prepare_model)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            trainer.load(Path(folder))
    leads = context.get_world_rank() == 0
    history: list[tuple[int, Metrics]] = []

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        if leads:
            history.append((step, metrics))
            task.progress.set.remote(step, trainer.steps)
        if save is None:
            return
        if not leads:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            task.run.metric_history(history)
            history.clear()
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    trainer.run(report)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    choices = {name: TrainConfig(training=training) for name, training in presets.TRAINING.items()}
    config = presets.parse(choices, "paper", arguments, "train", "Train one SAE for each β, on the same batches.")
    for folder in run(config):
        print(folder)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
