"""`isoenergy pipeline`: pairs to a report, every stage in order, in one MLflow run."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.evaluation.results import UNEQUAL_Q
from isoenergy.report.intervals import told
from isoenergy.report.page.headline import headline
from isoenergy.report.page.task_sections import task_line
from isoenergy.report.page.verdict import drawn, verdict
from isoenergy.report.saes import Sae, is_null, labels, trainings
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.storage import strict_json
from isoenergy.storage.files import open_filesystem, without_secrets
from workflows import embed, evaluate, report, train, tune
from workflows.command import run_command
from workflows.settings.pipeline_settings import PipelineConfig, parse
from workflows.settings.report_settings import ReportConfig
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file


def run(config: PipelineConfig) -> None:
    """Run every stage that is not done and print the summary."""
    if config.dry_run:
        _print_plan(config)
        return
    with mlflow_runs.stage("pipeline", config, config.output) as parent:
        embed.run(config.embedding(), parent)
        if config.tune:
            saes, config = _tuned(config, parent)
        else:
            saes = train.run(config.train_stage(), parent)
        null = config.null_stage(_betas(config, saes))
        nulls = train.run(null, parent) if null is not None else []
        evaluation = evaluate.run(config.evaluation([*saes, *nulls]), parent)
        assert evaluation is not None  # only a dry run has none
        page = report.run(ReportConfig(evaluation, config.place("report.html")), parent)
        log_file(parent, page)
        filesystem, path = open_filesystem(evaluation)
        print(_summary(strict_json.loads(filesystem.cat_file(path).decode()), page, parent))


def _betas(config: PipelineConfig, saes: Sequence[str]) -> Sequence[float]:
    """The β that null models are trained with: those that were found, or that of the trial to take."""
    return config.training.betas if config.tune else [SparseAutoencoder.load(place).config.beta for place in saes]


def _tuned(config: PipelineConfig, parent: mlflow_runs.Run) -> tuple[list[str], PipelineConfig]:
    """Return the SAEs of the front, and a config whose training is that of the trial to take."""
    findings = tune.run(config.search(), parent)
    assert findings is not None
    best = findings.recommended
    assert best is not None  # else it has raised
    return findings.places(findings.front), replace(config, training=replace(best.record.training, beta=(best.beta,)))


def _print_plan(config: PipelineConfig) -> None:
    """Print the plan of every stage, as far as the results of those before it are there."""
    try:
        print("embed:")
        embed.run(config.embedding())
        if config.tune:
            print("tune:")
            tune.run(config.search())
            print("train, on shuffled pairs; evaluate:\n  follow what the search finds")
            return
        print("train:")
        train.run(config.train_stage())
        places = [f"{config.place('saes')}/{name}" for name in config.training.names]
        null = config.null_stage(config.training.betas)
        if null is not None:
            print("train, on shuffled pairs:")
            train.run(null)
            places += [f"{config.place('null-saes')}/{name}" for name in null.training.names]
        print("evaluate:")
        evaluate.run(config.evaluation(places))
    except InputError as missing:
        filesystem, store = open_filesystem(config.place("store"))
        if filesystem.exists(store) and not filesystem.exists(f"{store}/manifest.json"):
            raise
        print(f"  follows what comes before it ({missing})")
    print("report:\n  one HTML page, always written anew")


def _summary(evaluation: dict[str, Any], page: str, run: mlflow_runs.Run) -> str:
    store, original = evaluation["store"], evaluation["original"]
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in store["rejected"].items()) or "none"
    names = labels(evaluation["saes"])
    chance = evaluation["pairs"]["chance_r10"]
    found = headline(evaluation["saes"], names, chance, original["retrieval"]["original"]["r10"]["value"])
    lines = [
        *(["", *found.sentences, *_of_trainings(found.sae)] if found else []),
        "",
        f"pairs      {store['pairs_in']:,} in, {store['embedded']:,} embedded, rejected: {rejected}",
        f"original   gap {original['geometry']['original']['difference_in_means']:.3f}, "
        f"R@10 {original['retrieval']['original']['r10']['value']:.3f}",
    ]
    for sae in evaluation["saes"]:
        results, runs = sae["results"], trainings(sae)
        r2, share, p_acc = (
            told([drawn(each, name) for each in runs]) for name in ("r2", "bimodal_energy_share", "p_acc")
        )
        lines.append(
            f"{names[sae['name']]}: R² {r2} (centred {results['r2_centred']:.3f}), bimodal energy {share}, "
            f"p_acc {p_acc}"
        )
        for name in ("reconstructed", "bimodal", "less_unimodal", "unimodal"):
            gap, retrieval = results["geometry"][name], results["retrieval"][name]
            means = told([each["geometry"][name]["difference_in_means_interval"] for each in runs])
            lines.append(
                f"  {name:<16} gap {means} "
                f"(OT {gap['optimal_transport']:.3f}), "
                f"R@1/5/10 image→text {_recalls(retrieval, 'image_to_text')}, "
                f"text→image {_recalls(retrieval, 'text_to_image')}"
            )
        lines.append(
            f"  the energies of both modalities differ in {results['unequal_atoms']} of {results['tested_atoms']} "
            f"tested atoms (false discovery rate {UNEQUAL_Q:g})"
        )
        if not is_null(sae):
            lines += [f"  {finding.mark} {finding.text}" for finding in verdict(sae, evaluation["saes"], chance)]
    lines += [task_line(task, evaluation["saes"], names) for task in evaluation["tasks"]]
    programs = Path(os.path.relpath(Path(sys.executable).parent))
    lines += [
        "",
        f"report     {page}",
        *_opening(page, programs),
        f"MLflow     {without_secrets(run.uri)}",
    ]
    if run.uri.startswith("sqlite"):
        lines.append(f"           open it: {programs / 'mlflow'} ui --backend-store-uri {shlex.quote(run.uri)}")
    elif run.uri.startswith("http"):
        lines.append(f"           open it: {programs / 'python'} -m webbrowser -t {without_secrets(run.uri)}")
    return "\n".join(lines)


def _of_trainings(sae: Sae) -> list[str]:
    """Say what braces are, if there are any."""
    count = len(trainings(sae))
    said = "(in brackets: 95% intervals by a bootstrap over pairs, of the first training"
    return [f"{said}; in braces: median and range of {count} trainings)"] if count > 1 else []


def _opening(page: str, programs: Path) -> list[str]:
    """Return how to open a page that is on this machine."""
    filesystem, path = open_filesystem(page)
    if not isinstance(filesystem, LocalFileSystem):
        return []
    return [f"           open it: {programs / 'python'} -m webbrowser -t {shlex.quote(Path(path).as_uri())}"]


def _recalls(retrieval: dict[str, float], direction: str) -> str:
    return "/".join(f"{retrieval[f'{direction}_r{rank}']:.3f}" for rank in (1, 5, 10))


def start(config: PipelineConfig) -> None:
    """Run the pipeline, as the command line asks for."""
    run(config)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
