"""`isoenergy evaluate`: the graph of steps that measures sparse autoencoders on held-out pairs."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from isoenergy import __version__
from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.evaluation.carried import CarriedConfig
from isoenergy.evaluation.transfer import Measured, transfer_rows
from isoenergy.report.console import told_in_brief
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.given_saes import given_saes
from isoenergy.sae.joint import Autoencoder
from isoenergy.storage import strict_json
from isoenergy.storage.files import last_part, open_filesystem, without_secrets, write_atomically
from isoenergy.store import EmbeddingStore
from workflows.cluster import engine
from workflows.command import run_command
from workflows.endings import evaluation_ending
from workflows.evaluation.evaluated_saes import carried_by_all, sae_reference
from workflows.evaluation.evaluation_graph import (
    EmbeddingSteps,
    EvaluationGraph,
    RefittedSteps,
    SaeSteps,
)
from workflows.evaluation.foreign_saes import load_all
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.evaluation.modalities_graph import ModalitiesGraph, modalities_summary
from workflows.evaluation.spoken_steps import spoken
from workflows.evaluation.task_config import TasksConfig
from workflows.evaluation.task_graph import TaskSteps
from workflows.evaluation.tracked_measures import MEASURES_FILE, headline_metrics, measures_table
from workflows.settings.evaluate_settings import EvaluateConfig, parse
from workflows.steps import step_plan
from workflows.steps.on_ray import begin_workers, run_on_ray
from workflows.steps.step_plan import Step
from workflows.tracking import mlflow_runs
from workflows.tracking.code_version import git_commit
from workflows.tracking.run_files import log_file, require_writable
from workflows.tracking.run_names import run_name, store_name
from workflows.training.vector_stores import store_of

_LOG = logging.getLogger("workflows.evaluate")  # `python -m` calls the module otherwise
_OF_STEPS = ("workflows.evaluation.evaluation_graph", "workflows.evaluation.task_graph")
"""What imports all that steps compute with."""
SUMMARY_FILE = "evaluation.json"
STEPS_FOLDER = "steps"


def begin() -> None:
    """Have workers of a Ray that runs already import what steps need, while other things are done here."""
    begin_workers(_OF_STEPS)


def run(config: EvaluateConfig, parent: mlflow_runs.Run | None = None) -> str | None:
    """Run what is not done and write `evaluation.json`; return its URI, or None if dry or only some steps."""
    output = config.output.rstrip("/")
    uri = store_of(config.store, config.modalities, output, config.skip_bad_rows, config.dry_run)
    store = EmbeddingStore.open(uri)
    store.require_complete()
    if len(store.manifest.modalities) < 2:
        raise InputError(
            f"{config.store} holds {', '.join(store.manifest.modalities)} alone, and an evaluation compares "
            f"modalities; give a store of two, or see what the SAE makes of these rows by `isoenergy apply`"
        )
    if not store.pairs_in(config.split):
        raise InputError(f"{config.store} has no pairs in its {config.split} split; embed more pairs")
    config = replace(config, saes=given_saes(config.saes))
    saes = load_all(config.saes, output, store, config.dry_run)
    for folder, sae in saes.items():
        _require_fit(folder, sae, store)
    names = _names(saes)
    fit_on = _fit_on(config, saes)
    measured = MeasuredPairs.of(store, config.split, config.draw, config.fit_pairs, config.part_pairs, fit_on)
    graph = _graph(measured, saes)
    tasks = _tasks(config, store, graph)
    root = f"{output}/{STEPS_FOLDER}"
    planned = step_plan.plan([*graph.targets, *(tasks.targets if tasks else [])], root, config.force, config.only)
    if config.dry_run:
        print(step_plan.describe(planned))
        return None
    require_writable(output)
    print(f"evaluate: {sum(item.due for item in planned)} of {len(planned)} steps to run, in {config.output}")
    of = store.manifest.encoder or store_name(store.uri, store.manifest.source)
    called = run_name("evaluate", of, counted(len(saes), "SAE"))
    is_due = any(item.due for item in planned)
    patience = 60 * config.patience
    if is_due:
        engine.connect(patience=patience)
        if parent is None:  # else they have begun
            begin()
    with mlflow_runs.stage("evaluate", config, config.output, parent, called, is_done=not is_due) as stage:
        stage.dataset(store.uri, store.fingerprint, "evaluation", store.manifest.source)
        if isinstance(fit_on, EmbeddingStore):
            stage.dataset(fit_on.uri, fit_on.fingerprint, "fit", fit_on.manifest.source)
        if is_due:
            run_on_ray(planned, root, "evaluate", patience, spoken)
        if config.only:
            return None
        summary = _whole_summary(config, store, saes, names, graph, tasks, root)
        summary["graph"] = [asdict(node) for node in step_plan.graph(planned, root)]
        file = f"{output}/{SUMMARY_FILE}"
        filesystem, path = open_filesystem(file)
        write_atomically(filesystem, path, strict_json.dumps(summary).encode())
        _track(stage, summary, store)
        log_file(stage, file)
    return file


def _whole_summary(
    config: EvaluateConfig,
    store: EmbeddingStore,
    saes: Mapping[str, Autoencoder],
    names: Mapping[str, str],
    graph: EvaluationGraph | ModalitiesGraph,
    tasks: TaskSteps | None,
    root: str,
) -> dict[str, Any]:
    if isinstance(graph, ModalitiesGraph):
        results = modalities_summary(saes, names, graph, root)
    else:
        results = _summary(saes, names, graph, root)
    return {
        **_heading(config, store),
        **results,
        "tasks": [] if tasks is None else tasks.results(names, root),
    }


def _track(stage: mlflow_runs.Run, summary: Mapping[str, Any], store: EmbeddingStore) -> None:
    """Send what the summary comes to, and what it is of, to the stage's run; all its numbers are in one table."""
    measured = [each for sae in summary["saes"] for each in (sae, *sae.get("repeats", ()))]
    from isoenergy.report.page.gap_drawing import gap_picture  # matplotlib takes a second

    stage.metrics(headline_metrics(summary))
    told, picture = told_in_brief(summary), ""
    if told:
        picture = "gaps.png"
        stage.artifact_of(picture, gap_picture(summary))
    stage.describe(told, picture)
    stage.table(MEASURES_FILE, measures_table(summary))
    stage.tags({"store_fingerprint": store.fingerprint, **{f"sae/{s['name']}": s["digest"] for s in measured}})


def _fit_on(config: EvaluateConfig, saes: Mapping[str, Autoencoder]) -> EmbeddingStore | CarriedConfig | None:
    """Return the store to fit on, or what the SAEs carry of theirs; None, and a line that says why, for neither."""
    if config.fit_store:
        store = EmbeddingStore.open(config.fit_store)
        store.require_complete()
        for folder, sae in saes.items():
            _require_fit(folder, sae, store)
        return store
    if not all(map(_of_pairs, saes.values())):
        return None
    carried = carried_by_all(saes)
    if isinstance(carried, str):
        _LOG.warning(
            "evaluate: classes and means are fitted on %s itself: %s; --fit-store chooses another",
            without_secrets(config.store),
            without_secrets(carried),
        )
        return None
    first, sae = next(iter(saes.items()))
    return CarriedConfig(sae_reference(first, sae).uri, carried)


def _of_pairs(sae: Autoencoder) -> bool:
    return isinstance(sae, SparseAutoencoder) and len(sae.config.modalities) == 2


def _require_fit(folder: str, sae: Autoencoder, store: EmbeddingStore) -> None:
    """Raise InputError unless an SAE is for what the store holds."""
    its = {name: sae.part(name).config.dim for name in sae.config.modalities}
    there = store.manifest.modalities
    if list(its.items()) == list(there.items()):
        return
    if len(set(its.values()) | set(there.values())) <= 2 and list(its) == list(there):
        raise InputError(
            f"{folder} is for embeddings of width {max(its.values())}, but {store.uri} has {store.manifest.dim}"
        )
    said = [", ".join(f"{name} of width {width}" for name, width in both.items()) for both in (its, there)]
    raise InputError(f"{folder} is for {said[0]}, but {store.uri} has {said[1]}")


def _tasks(config: EvaluateConfig, store: EmbeddingStore, graph: EvaluationGraph | ModalitiesGraph) -> TaskSteps | None:
    if isinstance(graph, EvaluationGraph):
        return TaskSteps(config.tasks, store, config.split, config.seed, graph)
    if config.tasks != TasksConfig():
        raise InputError("tasks need two modalities in one space, and an SAE with one dictionary for both")
    return None


def _graph(measured: MeasuredPairs, saes: dict[str, Autoencoder]) -> EvaluationGraph | ModalitiesGraph:
    """Return the graph of the paper's evaluation for two modalities with one dictionary, else that of any."""
    shared = {folder: sae for folder, sae in saes.items() if isinstance(sae, SparseAutoencoder) and _of_pairs(sae)}
    if len(shared) == len(saes):
        return EvaluationGraph(measured, shared)
    if shared:
        raise InputError(
            f"{next(iter(shared))} has one dictionary for both modalities, and others have one for each: what is "
            f"measured differs; evaluate them apart"
        )
    return ModalitiesGraph(measured, saes)


def _heading(config: EvaluateConfig, store: EmbeddingStore) -> dict[str, Any]:
    source = store.manifest.source_config
    return {
        "store": {
            "uri": store.uri,
            "fingerprint": store.fingerprint,
            "encoder": store.manifest.encoder,
            "modalities": store.manifest.modalities,
            "source": store.manifest.source,
            "source_config": None if source is None else asdict(source),
            "image_reading": asdict(store.manifest.image_reading),
            "dim": store.manifest.dim,
            "pairs_in": store.rows_in,
            "embedded": store.embedded,
            "rejected": store.rejected,
        },
        "split": config.split,
        "fit_store": without_secrets(config.fit_store),
        "seed": config.seed,
        "code": {"version": __version__, "git_commit": git_commit()},
    }


def _summary(
    saes: Mapping[str, Autoencoder], names: Mapping[str, str], graph: EvaluationGraph, root: str
) -> dict[str, Any]:
    """Gather the steps' results, and where the report finds the rest; paths are relative to the evaluation."""

    def results(step: Step) -> dict[str, Any]:
        return step_plan.result(step, root)

    def headline(uri: str) -> dict[str, Any]:
        steps = graph.headline(uri)
        return {
            **results(steps.statistics),
            "geometry": results(steps.geometry),
            "retrieval": results(steps.retrieval),
            "rivals": results(steps.rivals),
            "against": {names[b]: results(step) for (a, b), step in graph.differences.items() if a == uri},
        }

    return {
        "pairs": results(graph.embeddings.pairs),
        "fitted_on": results(graph.embeddings.fit),
        "transfer": _transfer(names, graph, root),
        "original": {
            "fit": f"{STEPS_FOLDER}/{step_plan.files(graph.embeddings.fit, root)}",
            "geometry": results(graph.embeddings.geometry),
            "retrieval": results(graph.embeddings.retrieval),
        },
        "saes": [
            {
                "name": names[folder],
                "digest": sae.digest,
                "config": asdict(sae.config),
                "results": {
                    **headline(folder),
                    "bridges": {
                        **results(graph.saes[folder].bridges),
                        **results(graph.saes[folder].bridge_intervals),
                    },
                    "dictionary": results(graph.saes[folder].dictionary),
                },
                "fit": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].fit, root)}",
                "exemplars": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].exemplars, root)}",
                "projection": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].projection, root)}",
                "spectra": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].spectra, root)}",
                "bridge_curves": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].bridge_intervals, root)}",
                "atom_map": f"{STEPS_FOLDER}/{step_plan.files(graph.saes[folder].atom_map, root)}",
                "explorer": None
                if sae.config.null
                else f"{STEPS_FOLDER}/{step_plan.files(graph.explorers[folder].explorer, root)}",
                "repeats": [
                    {"name": names[uri], "digest": saes[uri].digest, "results": headline(uri)}
                    for uri in graph.seeds[folder][1:]
                ],
            }
            for folder in graph.seeds
            for sae in [saes[folder]]
        ],
        "stability": [
            {"first": names[a], "second": names[b], **results(step)} for (a, b), step in graph.stability.items()
        ],
    }


def _transfer(names: Mapping[str, str], graph: EvaluationGraph, root: str) -> list[dict[str, Any]]:
    """Return what fitting on the other store came to beside fitting on the measured one: a row a variant."""

    def results(steps: EmbeddingSteps | SaeSteps | RefittedSteps) -> Measured:
        return step_plan.result(steps.geometry, root), step_plan.result(steps.retrieval, root)

    groups: dict[str | None, EmbeddingSteps | SaeSteps] = {None: graph.embeddings}
    groups |= {names[folder]: steps for folder, steps in graph.saes.items()}
    rows = []
    for name, steps in groups.items():
        if steps.refitted is not None:
            rows += transfer_rows(name, results(steps), results(steps.refitted))
    return rows


def _names(saes: Mapping[str, Autoencoder]) -> dict[str, str]:
    """Return the SAEs' names: the last part of the URI, and part of the digest where several have the same.

    Raises InputError if one SAE is given twice under one name.
    """
    last = [last_part(uri) for uri in saes]
    names = {
        uri: name if last.count(name) == 1 else f"{name}-{sae_reference(uri, sae).digest[:6]}"
        for (uri, sae), name in zip(saes.items(), last, strict=True)
    }
    for uri, name in names.items():
        same = [other for other in names if names[other] == name]
        if len(same) > 1:
            raise InputError(f"{same[0]} and {same[1]} are one SAE, given twice; give {uri} once")
    return names


def start(config: EvaluateConfig) -> None:
    """Evaluate and print what it comes to, and where the summary is."""
    file = run(config)
    if file is not None:
        print(evaluation_ending(file))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
