"""The search: Ray Tune runs the passes, and whatever they come to is on record before it counts."""

import logging
from typing import Any

import ray
import ray.tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split
from isoenergy.storage.files import absolute_uri
from isoenergy.store import EmbeddingStore
from isoenergy.store.order import require_batches
from isoenergy.training.trainer import RawPairs
from tune.findings import Findings
from tune.halving import JointHalving
from tune.objectives import Objectives
from tune.passes import PassRecord, SearchFolder
from tune.placement import PassPlacement
from tune.proposals import GridProposals, Proposals, SampledProposals
from tune.publishing import publish_findings, publish_growth
from tune.recorder import Recorder
from tune.search_config import SearchConfig
from tune.shared_rows import SharedRows
from tune.trainable import PassInputs, trainable
from tune.training_pass import TrialPairs
from tune.tuner import run_tuner, waiting_trials
from workflows.cluster import engine
from workflows.cluster.cluster_timeline import cluster_timeline
from workflows.cluster.gpu import require_usable_gpus
from workflows.cluster.lock import alone_in
from workflows.tracking import mlflow_runs
from workflows.training.ray_training import RayTraining
from workflows.training.training_data import first_pairs, first_shards, prepare_indices
from workflows.training.training_stores import TrainingStores

_LOG = logging.getLogger(__name__)
_ALIAS = "recommended"
_FITTED_A_MEASURED = 4
"""Train pairs on which atoms get their classes, for each that trials are measured on: some atoms are rare."""


def proposals_of(config: SearchConfig) -> tuple[Proposals, int]:
    """Return what chooses the passes of a search, and how many there are."""
    if config.searcher == "grid":
        grid = GridProposals(config.space, config.training, config.grid_points, config.seed)
        return grid, len(grid)
    sampled = SampledProposals(
        config.space, config.training, Objectives(config.objectives), config.betas, config.seed, config.searcher
    )
    return sampled, config.passes


def open_store(config: SearchConfig) -> EmbeddingStore:
    """Return the store of a search; raises InputError if it is not complete or has no validation pairs."""
    if not config.store:
        raise InputError("a search needs --store STORE, or --resume NAME")
    store = EmbeddingStore.open(absolute_uri(config.store))
    store.require_complete()
    store.shards.require_pairs_of_one_width()
    if config.training.dictionaries == "own":
        raise InputError(
            "a search compares vectors across modalities, which needs one dictionary; give another --dictionaries"
        )
    if not store.pairs_in("validation"):
        raise InputError(f"{config.store} has no validation pairs to measure trials on; embed more pairs")
    require_batches(store.pairs_in("train"), int(min(config.space.batch_pairs.values)), config.workers)
    return store


def _pairs_of(stores: TrainingStores, store: EmbeddingStore, split: Split, most: int) -> RawPairs:
    found = first_pairs(first_shards(stores, {store.uri: store}, split, most), most)
    if found is None:
        raise InputError(f"{stores.images} has no {split} pair that can be used; embed more pairs")
    return found


def search(config: SearchConfig, store: EmbeddingStore, parent: mlflow_runs.Run | None = None) -> Findings:
    """Run every pass that is not on record as ended; write the table and the picture; return what was found.

    Cut short, all that was reported is kept, and the same call goes on from there. Raises InputError if no trial was
    trained to its end.
    """
    folder = SearchFolder(absolute_uri(config.folder))
    folder.remember_plan(config.plan() | {"store_fingerprint": store.fingerprint})
    if parent is None:
        mlflow_runs.require_server()
    patience = 60 * config.patience
    engine.connect(dashboard=config.workers > 1, patience=patience)
    placement = PassPlacement.fit(config)
    if placement.gpus:
        require_usable_gpus()
    stores = TrainingStores(store.uri, store.uri)
    opened = {store.uri: store}
    index = prepare_indices(stores, opened, folder.uri, skip_bad_rows=False, engine=RayTraining(patience))[0]
    measured = config.training.validation_pairs
    validation = _pairs_of(stores, store, "validation", measured)
    held = ray.put(TrialPairs(validation, _pairs_of(stores, store, "train", _FITTED_A_MEASURED * measured)))
    inputs = PassInputs(folder, Objectives(config.objectives), config.parts, placement, held, index)
    name = config.resume or config.name
    with alone_in(folder.uri), mlflow_runs.stage("tune", config.plan(), folder.uri, parent, name) as run:
        proposals, total = proposals_of(config)
        known = folder.passes()
        for record in known:
            proposals.tell(record)
        pending = [record for record in known if record.outcome is None]
        left = total - len(known) + len(pending)
        _LOG.info("tune: %d of %d passes to run; %s; to %s", left, total, placement, config.folder)
        run.tags({"store_fingerprint": store.fingerprint, "search": name})
        run.dataset(store.uri, store.fingerprint, "training", store.manifest.source)
        with Recorder(folder, run, store, proposals, total, config.parts) as recorder:
            recorder.replay(known)
            if left:
                searcher = _PassSearcher(proposals, folder, pending, len(known))
                scheduler = _scheduler(config, inputs.objectives, known)
                with cluster_timeline() as timeline:
                    _fit(config, inputs, searcher, scheduler, recorder, left)
                publish_growth(timeline, placement, folder, run)
            findings = Findings.of(folder, inputs.objectives, config.within)
            if (best := findings.recommended) is not None:
                recorder.register(best.record, best.saes[0], f"isoenergy-{name}", _ALIAS)
        publish_findings(findings, run)
    if findings.recommended is None:
        reasons = [trial.reason for trial in findings.trials if trial.reason]
        raise InputError(f"no trial of {config.folder} came to its end: {reasons[0] if reasons else 'none was begun'}")
    return findings


def _fit(
    config: SearchConfig,
    inputs: PassInputs,
    searcher: Searcher,
    scheduler: TrialScheduler,
    recorder: Recorder,
    passes: int,
) -> None:
    placement, folder = inputs.placement, inputs.folder
    run_tuner(
        trainable(inputs, SharedRows.share(inputs.index) if placement.workers == 1 else None),
        ray.tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=passes,
            max_concurrent_trials=placement.concurrent,
            reuse_actors=placement.workers == 1,
        ),
        recorder,
        folder.uri,
        placement.concurrent,
        config.retries,
        waiting_trials("tune", "pass", 60 * config.patience, placement.resources, lambda: recorder.at_work),
    )


class _PassSearcher(Searcher):
    """Gives Ray Tune the passes that were cut short, then those that are proposed."""

    def __init__(self, proposals: Proposals, folder: SearchFolder, pending: list[PassRecord], begun: int) -> None:
        super().__init__()
        self._proposals, self._folder = proposals, folder
        self._pending, self._number = list(pending), begun

    def suggest(self, trial_id: str) -> Any:
        del trial_id
        if self._pending:
            return {"pass": self._pending.pop(0).id}
        record = self._proposals.propose(self._number)
        if record is None:
            return Searcher.FINISHED
        self._folder.begin(record)
        self._proposals.tell(record)
        self._number += 1
        return {"pass": record.id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The recorder tells what came out."""

    def save(self, checkpoint_path: str) -> None:
        """What counts is on record."""

    def restore(self, checkpoint_path: str) -> None:
        """What counts is on record."""


def _scheduler(config: SearchConfig, objectives: Objectives, known: list[PassRecord]) -> TrialScheduler:
    if not config.early_stopping or config.parts == 1:
        return FIFOScheduler()
    return JointHalving(objectives, config.parts, config.reduction, known)
