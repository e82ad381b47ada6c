"""`isoenergy tune`: a search over β, dictionary size and more, on Ray Tune; several objectives, hence a front."""

import sys
import tempfile
from dataclasses import replace
from itertools import pairwise

from isoenergy.durations import duration
from isoenergy.errors import InputError
from isoenergy.storage.files import absolute_uri
from isoenergy.store import EmbeddingStore
from isoenergy.training.trainer import TrainingConfig
from tune.findings import Findings
from tune.passes import SearchFolder
from tune.placement import PassPlacement
from tune.publishing import FRONT, TABLE_FILE
from tune.search import open_store, proposals_of, search
from tune.search_config import SearchConfig
from workflows.cluster import engine
from workflows.command import run_command
from workflows.settings.tune_settings import parse
from workflows.tracking import mlflow_runs
from workflows.training.ray_training import RayTraining
from workflows.training.training_data import prepare_indices
from workflows.training.training_plan import probed
from workflows.training.training_stores import TrainingStores
from workflows.training.vector_stores import store_of


def run(config: SearchConfig, parent: mlflow_runs.Run | None = None) -> Findings | None:
    """Search, or go on with a search; print the front; None if dry."""
    if config.resume:
        config = _resumed(config)
    elif config.store:
        uri = store_of(config.store, config.modalities, config.folder, config.skip_bad_rows, config.dry_run)
        config = replace(config, store=uri)
    store = open_store(config)
    if config.dry_run:
        print(_plan(config, store))
        return None
    findings = search(config, store, parent)
    print(f"\n{findings.table()}\n")
    assert findings.recommended is not None  # else it has raised
    print(f"table      {config.folder}/{TABLE_FILE}")
    print(f"picture    {config.folder}/{FRONT}.png")
    for uri in findings.sae_uris([findings.recommended]):
        print(f"SAE        {uri}")
    return findings


def _resumed(config: SearchConfig) -> SearchConfig:
    plan = SearchFolder(absolute_uri(config.folder)).plan()
    if plan is None:
        raise InputError(f"there is no search {config.resume!r} in {config.output}; give the --name it was begun with")
    fingerprint = plan.pop("store_fingerprint")
    resumed = config.of_plan(plan)
    if EmbeddingStore.open(resumed.store).fingerprint != fingerprint:
        raise InputError(f"{resumed.store} is not the store that the search {config.resume} began with; begin another")
    return resumed


def _plan(config: SearchConfig, store: EmbeddingStore) -> str:
    """Return what a search will do, as far as it is known before it: the proposals that follow from none."""
    proposals, total = proposals_of(config)
    engine.connect()
    placement, dim, pairs = PassPlacement.fit(config), store.manifest.dim, store.pairs_in("train")
    firsts = []
    for number in range(min(total, 4)):
        record = proposals.propose(number)
        assert record is not None
        proposals.tell(record)
        firsts.append(record)
    lines = [
        f"store       {config.store}: {pairs:,} train pairs of width {dim}",
        f"searcher    {config.searcher}, {total} passes, wanted: {', '.join(config.objectives)}",
        f"cluster     {placement}",
        f"stopping    {_stopping(config)}",
        f"time        {_time(config, store, placement, firsts[0].training, total)}",
        "first passes:",
    ]
    for record in firsts:
        training = record.training
        betas = ", ".join(f"{beta:g}" for beta in training.betas)
        lines.append(
            f"  {record.id}: {training.atoms_for(dim):,} atoms, k {training.k}, learning rate "
            f"{training.learning_rate:.3g}, {training.alignment}, {_steps(training, pairs):,} steps of "
            f"{training.batch_pairs} pairs, beta {betas}"
        )
    return "\n".join(lines)


def _steps(training: TrainingConfig, pairs: int) -> int:
    return pairs // training.batch_pairs * training.epochs


def _time(
    config: SearchConfig, store: EmbeddingStore, placement: PassPlacement, first: TrainingConfig, total: int
) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        indices = prepare_indices(
            TrainingStores(store.uri, store.uri), {store.uri: store}, temporary, False, RayTraining()
        )
    probe = probed(first, indices, placement.cpus, placement.gpus, RayTraining())
    seconds = _steps(first, store.pairs_in("train")) / probe.steps_per_second / placement.workers
    rounds = -(-total // placement.concurrent)
    text = f"{duration(seconds)} for the first pass at best, {duration(seconds * rounds)} for all at its pace"
    if config.early_stopping and config.parts > 1:
        ends = [config.reduction**rung / config.parts for rung in range(config.rungs)]
        share = sum((end - start) / config.reduction**rung for rung, (start, end) in enumerate(pairwise([0.0, *ends])))
        text += f", {duration(seconds * rounds * share)} if {share:.0%} is left by early stopping"
    return f"{text} ({probe.steps_per_second:.1f} steps/s on {probe.device})"


def _stopping(config: SearchConfig) -> str:
    if not config.early_stopping or config.parts == 1:
        return "none: every pass is trained to its end"
    rungs = ", ".join(f"{config.reduction**rung}/{config.parts}" for rung in range(config.rungs - 1))
    return f"early stopping: after {rungs} of a training about one pass in {config.reduction} goes on"


def start(config: SearchConfig) -> None:
    """Search, as the command line asks for."""
    run(config)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
