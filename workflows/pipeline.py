"""`isoenergy pipeline`: pairs to a report, every stage in order, in one MLflow run."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from isoenergy.report.console import told_in_brief
from isoenergy.report.evaluation_file import read_evaluation
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import WEIGHTS_FILE
from isoenergy.storage.files import last_part, open_filesystem, without_secrets
from isoenergy.store import EmbeddingStore
from workflows import embed, evaluate, report, train, tune
from workflows.command import PLAN_ENDS_EARLY, run_command
from workflows.endings import Stages, evaluation_ending
from workflows.evaluation.tracked_measures import headline_metrics
from workflows.settings.pipeline_settings import PipelineConfig, parse
from workflows.settings.report_settings import ReportConfig
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file
from workflows.tracking.run_names import run_name
from workflows.training.ray_training import RayTraining

_ALL_STAGES = 5


def run(config: PipelineConfig) -> None:
    """Run every stage that is not done and print the summary."""
    stages = Stages(_ALL_STAGES if config.may_have_null else _ALL_STAGES - 1)
    called = run_name("pipeline", config.encoder, last_part(without_secrets(config.pairs)))
    with mlflow_runs.stage("pipeline", config, config.output, run_name=called) as parent:
        with stages.stage("embed"):
            embed.run(config.embedding(), parent)
        training = RayTraining(60 * config.patience)
        with training.keeping_workers():
            with stages.stage("tune" if config.tune else "train"):
                if config.tune:
                    saes, config = _tuned(config, parent)
                else:
                    saes = train.run(config.train_stage(), parent, training)
            nulls: list[str] = []
            if config.may_have_null:
                with stages.stage("train on shuffled pairs"):
                    null = config.null_stage(_betas(config, saes))
                    nulls = train.run(null, parent, training) if null is not None else []
            evaluate.begin()  # its workers import for seconds, while those of the training end and steps are planned
        with stages.stage("evaluate"):
            evaluation = evaluate.run(config.evaluation([*saes, *nulls]), parent)
            assert evaluation is not None  # only a dry run has none
            summary = read_evaluation(evaluation)
            parent.metrics(headline_metrics(summary))
        with stages.stage("report"):
            page = report.run(ReportConfig(evaluation, config.part("report.html")), parent, again=False)
        log_file(parent, page)
        log_file(parent, config.part("figures/gaps.png"))
        _describe(parent, summary)
    print(evaluation_ending(evaluation, page, saes))


def _describe(run: mlflow_runs.Run, summary: Mapping[str, Any]) -> None:
    """Say in the run what was found, with the picture that it has of it, and of which store."""
    run.describe(told_in_brief(summary), "gaps.png")
    store = summary["store"]
    run.dataset(store["uri"], store["fingerprint"], "evaluation", store["source"])


def _betas(config: PipelineConfig, saes: Sequence[str]) -> Sequence[float]:
    """The β that null models are trained with: those that were found, or that of the trial to take."""
    return config.training.betas if config.tune else [SparseAutoencoder.load(uri).config.beta for uri in saes]


def _tuned(config: PipelineConfig, parent: mlflow_runs.Run) -> tuple[list[str], PipelineConfig]:
    """Return the SAEs of the front, and a config whose training is that of the trial to take."""
    findings = tune.run(config.search(), parent)
    assert findings is not None
    best = findings.recommended
    assert best is not None  # else it has raised
    return findings.sae_uris(findings.front), replace(config, training=replace(best.record.training, beta=(best.beta,)))


def print_plan(config: PipelineConfig) -> bool:
    """Print the plan of every stage, and return whether that is all: a stage whose input is not made yet has none."""
    print("embed:")
    embed.run(config.embedding())
    if not _is_store(config.part("store")):
        first = "tune" if config.tune else "train"
        return _ends_before(f"{first}, evaluate, report", "the store: how many pairs there will be")
    if config.tune:
        print("tune:")
        tune.run(config.search())
        return _ends_before("train on shuffled pairs, evaluate, report", "the search: which SAEs are on its front")
    print("train:")
    train.run(config.train_stage())
    uris = [f"{config.part('saes')}/{name}" for name in config.training.names]
    null = config.null_stage(config.training.betas)
    if null is not None:
        print("train on shuffled pairs:")
        train.run(null)
        uris += [f"{config.part('null-saes')}/{name}" for name in null.training.names]
    lacking = [uri for uri in uris if not _is_there(f"{uri}/{WEIGHTS_FILE}")]
    if lacking:
        return _ends_before("evaluate, report", f"{', '.join(lacking)}: which steps are done")
    print("evaluate:")
    evaluate.run(config.evaluation(uris))
    print("report:\n  one HTML page, written unless it is there, of the same evaluation and code")
    return True


def _ends_before(stages: str, unknown: str) -> bool:
    print(f"{stages}:\n  cannot be planned before there is {unknown}")
    return False


def _is_store(uri: str) -> bool:
    """Return whether there is a store, with all its units."""
    if not _is_there(f"{uri}/manifest.json"):
        return False
    store = EmbeddingStore.open(uri)
    return len(store.commits) >= store.manifest.units


def _is_there(file: str) -> bool:
    filesystem, path = open_filesystem(file)
    return bool(filesystem.exists(path))


def start(config: PipelineConfig) -> None:
    """Run the pipeline, as the command line asks for, or print its plan and exit with 3 if that is not all of it."""
    if not config.dry_run:
        run(config)
    elif not print_plan(config):
        sys.exit(PLAN_ENDS_EARLY)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
