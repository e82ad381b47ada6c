"""`isoenergy train`: standard and aligned sparse autoencoders on a store."""

import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.evaluation.carried import write_carried
from isoenergy.evaluation.measured_rows import SaeReference
from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.figures.training_curves_figure import training_curves
from isoenergy.report.told_training import MEASURES, told_training
from isoenergy.sae.given_saes import DONE_FILE
from isoenergy.sae.model_card import model_card
from isoenergy.sae.sae_config import CARD_FILE, CONFIG_FILE, FITTED_FILE, WEIGHTS_FILE
from isoenergy.settings.differences import differing_fields
from isoenergy.storage.files import absolute_uri, last_part, open_filesystem, write_atomically
from isoenergy.store import EmbeddingStore, PairIndex
from isoenergy.store.order import require_batches
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.trainer import Metrics, TrainingConfig
from isoenergy.training.training_config import beta_text, with_defaults
from workflows.cluster.lock import alone_in
from workflows.command import run_command
from workflows.endings import training_ending
from workflows.settings.train_settings import TrainConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_names import store_name
from workflows.training.training_data import first_shards, prepare_indices
from workflows.training.training_engine import TrainingEngine, WorkersLostError
from workflows.training.training_placement import TrainingPlacement
from workflows.training.training_plan import beta_warnings, training_plan
from workflows.training.training_workers import CHECKPOINTS, CURVE_FILE, HISTORY_FILE, WorkerTask, train_worker
from workflows.training.vector_stores import store_of

_LOG = logging.getLogger("workflows.train")  # `python -m` calls the module otherwise
_RESTARTS_WITHOUT_PROGRESS = 3
_PLAN_FILE = "training.json"
_CURVES_FILE = "curves.png"


def run(config: TrainConfig, parent: mlflow_runs.Run | None = None, engine: TrainingEngine | None = None) -> list[str]:
    """Train, or continue, or find it done; return the SAEs' URIs in the order of seeds and betas; none if dry.

    engine: what it runs on; Ray, if not given.
    """
    output = absolute_uri(config.output)
    found = store_of(config.store, config.modalities, output, config.skip_bad_rows, config.dry_run)
    config = replace(config, store=found)
    opened = {uri: EmbeddingStore.open(uri) for uri in dict.fromkeys((config.stores.images, config.stores.texts))}
    stores = list(opened.values())
    _require_alignable(config, stores)
    for store in stores:
        store.require_complete()
        require_batches(store.pairs_in("train"), config.training.batch_pairs, max(config.workers.fewest, 1))
    if not config.dry_run:
        _remember_plan(config, output, stores)
        if (done := _done(output)) is not None:
            _LOG.info("train: done before, in %s", config.output)
            uris, run_id = done
            if mlflow_runs.is_unfinished(run_id):  # its process ended before MLflow had all of it
                called = _run_name(config, stores)
                with alone_in(output), mlflow_runs.stage(_stage_name(config), config, output, parent, called) as stage:
                    _log_models(config, stores, stage, uris)
            return uris
    widths = {name: width for store in stores for name, width in store.manifest.modalities.items()}
    for line in beta_warnings(config.training, widths):
        _LOG.warning("train: %s", line)
    engine = engine or _ray(60 * config.patience)
    placement = engine.place(config.workers)
    if config.dry_run:
        with tempfile.TemporaryDirectory() as temporary:
            indices = prepare_indices(config.stores, opened, temporary, config.skip_bad_rows, engine)
            print(training_plan(config.training, indices, config.residence, placement, output, engine))
        return []
    indices = prepare_indices(config.stores, opened, output, config.skip_bad_rows, engine)
    for index in indices:
        require_batches(len(index), config.training.batch_pairs, placement.fewest)
        if index.skipped:
            _LOG.info("train: %d bad pairs of %s are left out", sum(map(len, index.skipped.values())), index.store)
    _LOG.info("train: %s; %s; to %s", _what(config.training, indices), placement, config.output)
    called = _run_name(config, stores)
    with alone_in(output), mlflow_runs.stage(_stage_name(config), config, output, parent, called) as stage:
        stage.tags({"store_fingerprint": ",".join(store.fingerprint for store in stores)})
        for store in stores:
            stage.dataset(store.uri, store.fingerprint, "training", store.manifest.source)
        if config.training.null:
            stage.tags({"null": "true"})
        with engine.progress("train", "steps") as progress:
            task = WorkerTask(
                stores=config.stores,
                output=output,
                training=config.training,
                residence=config.residence,
                validation=first_shards(config.stores, opened, "validation", config.training.validation_pairs),
                keep_checkpoints=config.keep_checkpoints,
                run=stage,
                progress=progress,
            )
            _fit(task, placement, engine)
        uris = _publish(config, output, stores, stage)
        _log_models(config, stores, stage, uris)
        return uris


def _stage_name(config: TrainConfig) -> str:
    return "train-null" if config.training.null else "train"


def _run_name(config: TrainConfig, stores: list[EmbeddingStore]) -> str:
    """Return what MLflow calls the run: `clip · β 0, 0.0004 · 4,096 atoms · seed 0`, and what else is unusual of it."""
    training, usual = config.training, TrainingConfig()
    manifest = stores[0].manifest
    seeds = [training.seed + number for number in range(training.seeds)]
    parts = [
        manifest.encoder or store_name(stores[0].uri, manifest.source),
        *([str(training.sparse_encoder)] if training.sparse_encoder != usual.sparse_encoder else []),
        *([str(training.alignment)] if training.alignment != usual.alignment else []),
        f"β {beta_text(training.beta).replace(',', ', ')}",
        f"{training.atoms_for(manifest.modalities):,} atoms",
        f"seeds {seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}",
    ]
    return " · ".join(parts + ["shuffled pairs"] * training.null)


def _log_models(config: TrainConfig, stores: list[EmbeddingStore], stage: mlflow_runs.Run, uris: list[str]) -> None:
    """Log the SAEs as models of the run, from which MLflow serves them, if they are of a kind that it can."""
    from workflows.tracking.logged_model import log_model

    def log() -> None:
        for uri in uris:
            log_model(stage, uri)

    one_width = len(set(stores[0].manifest.modalities.values())) == 1
    if one_width and config.training.dictionaries != "own" and not config.training.null:
        mlflow_runs.send_if_it_answers(stage, "its models", log)


def _require_alignable(config: TrainConfig, stores: Sequence[EmbeddingStore]) -> None:
    """Raise InputError if something is to be aligned, and there is one modality alone."""
    names = {name for store in stores for name in store.manifest.modalities}
    if len(names) == 1 and config.training.beta != (0.0,):
        raise InputError(
            f"{config.store} holds {names.pop()} alone, and β weighs how modalities align: give --beta 0, or a store "
            f"of two modalities"
        )


def _what(training: TrainingConfig, indices: list[PairIndex]) -> str:
    pairs = " and ".join(f"{len(index):,}" for index in indices)
    names = "beta to be found" if isinstance(training.beta, AutomaticBeta) else ", ".join(training.names)
    left_out = "; beta 0 is left out: it never looks at pairs" * (training.null and training.betas != training.beta)
    return f"{names}, on {pairs} {'shuffled ' * training.null}pairs, {training.epochs} epochs{left_out}"


def _ray(patience: float) -> TrainingEngine:
    from workflows.training.ray_training import RayTraining

    return RayTraining(patience)


def _fit(task: WorkerTask, placement: TrainingPlacement, engine: TrainingEngine) -> None:
    """Train to the end. What kills a worker or its node starts all workers again from the last checkpoint."""
    checkpoints = CheckpointFolder(f"{task.output}/{CHECKPOINTS}")
    failures, reached = 0, -1
    while True:
        try:
            engine.train(partial(train_worker, task), placement, task.output)
            return
        except WorkersLostError as error:
            step = max((record.step for record in checkpoints.records()), default=-1)
            failures, reached = (0 if step > reached else failures + 1), max(step, reached)
            if failures >= _RESTARTS_WITHOUT_PROGRESS:
                raise
            _LOG.warning("train: a worker was lost (%s); going on from step %d", error, max(step, 0))


def _remember_plan(config: TrainConfig, output: str, stores: list[EmbeddingStore]) -> None:
    """Write down what `output` is for; raise InputError, naming the fields that differ, if it is for something else."""
    plan: dict[str, Any] = {"store": stores[0].fingerprint, "texts": stores[-1].fingerprint, **asdict(config.training)}
    filesystem, root = open_filesystem(output)
    path = f"{root}/{_PLAN_FILE}"
    try:
        if filesystem.exists(path):
            differences = differing_fields(with_defaults(json.loads(filesystem.cat_file(path))), plan)
            if differences:
                raise InputError(f"{config.output} holds another training: {differences}; give another --output")
        else:
            write_atomically(filesystem, path, json.dumps(plan, indent=2).encode())
    except OSError as error:
        raise InputError(f"{config.output} cannot be written ({error}); give an output folder that can") from error


def _done(output: str) -> tuple[list[str], str] | None:
    """Return the SAEs' URIs, and the MLflow run's id, if the training has ended and they are there."""
    filesystem, root = open_filesystem(output)
    try:
        done = json.loads(filesystem.cat_file(f"{root}/{DONE_FILE}"))
    except FileNotFoundError:
        return None
    files = [f"{root}/{name}/{file}" for name in done["saes"] for file in (CONFIG_FILE, WEIGHTS_FILE)]
    there = all(filesystem.exists(file) for file in files)
    return ([f"{output}/{name}" for name in done["saes"]], done.get("mlflow_run", "")) if there else None


def _publish(config: TrainConfig, output: str, stores: list[EmbeddingStore], stage: mlflow_runs.Run) -> list[str]:
    """Put each SAE of the last checkpoint to its folder, with its card, and the curves; then say that all is done."""
    filesystem, root = open_filesystem(output)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        record = CheckpointFolder(f"{output}/{CHECKPOINTS}").restore(folder)
        if record is None:
            raise InputError(
                f"{config.output} has no checkpoint after training: it is not a folder that all nodes see; give one"
            )
        training = _found(config.training, filesystem, root)
        points = [(step, metrics) for step, metrics in json.loads((folder / HISTORY_FILE).read_text())["points"]]
        saes = training.saes(stores[0].manifest.modalities)
        if len(stores) == 1 and len(stores[0].manifest.modalities) == 2:
            _carry(stores[0], [folder / name for name, (sae, _) in saes.items() if not sae.widths])
        for name, (sae, seed) in saes.items():
            card = model_card(sae, stores[0].manifest.made_by, _provenance(training, stores, seed), _last(points, name))
            (folder / name / CARD_FILE).write_text(card)
            for file in (FITTED_FILE, CARD_FILE, WEIGHTS_FILE, CONFIG_FILE):
                if (folder / name / file).exists():
                    write_atomically(filesystem, f"{root}/{name}/{file}", (folder / name / file).read_bytes())
        figure = as_bytes(training_curves(points, training.names), "png")
        write_atomically(filesystem, f"{root}/{_CURVES_FILE}", figure)
        (folder / _CURVES_FILE).write_bytes(figure)
        stage.artifact(folder / _CURVES_FILE)
        if isinstance(config.training.beta, AutomaticBeta):
            (folder / CURVE_FILE).write_bytes(filesystem.cat_file(f"{root}/{CURVE_FILE}"))
            stage.artifact(folder / CURVE_FILE)
    last = {name: _last(points, name) for name in training.names}
    measures = {name: {key: last[name][key] for key, _, _ in MEASURES if key in last[name]} for name in last}
    done = {"saes": training.names, "steps": record.step, "mlflow_run": stage.id, "measures": measures}
    write_atomically(filesystem, f"{root}/{DONE_FILE}", (json.dumps(done, indent=2) + "\n").encode())
    return [f"{output}/{name}" for name in training.names]


def _carry(store: EmbeddingStore, folders: list[Path]) -> None:
    """Write beside SAEs what an evaluation on another store takes from this one; a training does not fail for it."""
    try:
        write_carried(store, {folder: SaeReference(str(folder), "") for folder in folders})
    except InputError as error:
        for folder in folders:
            if not (folder / FITTED_FILE).exists():
                _LOG.warning("train: %s carries no %s: %s", folder.name, FITTED_FILE, error)


def _found(training: TrainingConfig, filesystem: AbstractFileSystem, root: str) -> TrainingConfig:
    """Return the training with the β that was found, if it was looked for."""
    if not isinstance(training.beta, AutomaticBeta):
        return training
    chosen = json.loads(filesystem.cat_file(f"{root}/{CURVE_FILE}"))["chosen"]
    return replace(training, beta=(0.0, chosen) if chosen > 0 else (0.0,))


def _provenance(training: TrainingConfig, stores: list[EmbeddingStore], seed: int) -> dict[str, object]:
    return {
        "alignment": training.alignment,
        "epochs": training.epochs,
        "batch (pairs)": training.batch_pairs,
        "learning rate": training.learning_rate,
        "seed of the initialisation": seed,
        "seed of the order": training.seed,
        "train pairs": ", ".join(f"{store.pairs_in('train'):,}" for store in stores),
        "store fingerprint": ", ".join(store.fingerprint for store in stores),
        "encoder digest": stores[0].manifest.encoder_digest,
    }


def _last(points: list[tuple[int, Metrics]], name: str) -> Metrics:
    """Return the last value of each of an SAE's metrics."""
    last = {key: value for _, metrics in points for key, value in metrics.items()}
    return {key.removeprefix(f"{name}/"): value for key, value in last.items() if key.startswith(f"{name}/")}


def start(config: TrainConfig) -> None:
    """Train and print what it came to, and the SAEs' URIs."""
    uris = run(config)
    if uris:
        print(training_ending(config.store, uris, _told(absolute_uri(config.output), uris)))


def _told(output: str, uris: Sequence[str]) -> list[str]:
    """Return what a training that has ended comes to; nothing of one of an earlier version."""
    filesystem, root = open_filesystem(output)
    measures = json.loads(filesystem.cat_file(f"{root}/{DONE_FILE}")).get("measures", {})
    saes = [
        {"name": name, "config": json.loads(filesystem.cat_file(f"{root}/{name}/{CONFIG_FILE}"))}
        for name in map(last_part, uris)
    ]
    return told_training(saes, measures) if measures else []


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
