"""`isoenergy tune` on Ray: what is on record and in MLflow, and that nothing is run twice whatever is killed."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.report.figures.shared import as_bytes
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.processes import files_in, run_until
from tests.workflows.searches import SEARCH, SPACE, child_runs
from tune.findings import Findings
from tune.pareto_figure import pareto_figure
from tune.passes import SearchFolder
from tune.search_config import SearchConfig
from tune.space import Dimension
from workflows import tune
from workflows.tracking import mlflow_runs

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_store(tmp_path_factory.mktemp("tune") / "store", *planted_pairs(1500, 16), pairs_a_shard=500)


def search(store: Path, output: Path, config: SearchConfig = SEARCH) -> Findings:
    findings = tune.run(replace(config, store=str(store), output=str(output)))
    assert findings is not None
    return findings


def outcomes(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in files_in(folder / "passes", "*/outcome.json")}


def test_a_search_is_on_record_and_in_mlflow_and_is_not_run_again(store: Path, tmp_path: Path) -> None:
    findings = search(store, tmp_path)
    folder = tmp_path / "search"
    assert Counter(trial.status for trial in findings.trials) == {"finished": 8}
    assert findings.recommended in findings.front
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert [float(row["r2"]) for row in rows] == [trial.measures["r2"] for trial in findings.trials]
    assert (folder / "front.png").read_bytes() == as_bytes(pareto_figure(findings), "png")
    assert not (folder / ".ray").exists()

    runs = child_runs(str(folder))
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    client = MlflowClient(mlflow_runs.tracking_uri())
    assert client.get_run(parent).info.status == "FINISHED"
    assert client.get_run(parent).info.run_name == "search"
    assert client.get_run(parent).data.metrics["hypervolume"] == pytest.approx(findings.hypervolume)
    for run in runs:
        assert {"beta", "expansion", "k", "epochs", "atoms"} <= run.data.params.keys()
        assert {"r2_image", "bimodal_energy", "validation_r2", "validation_bimodal_energy"} <= run.data.metrics.keys()
        assert any(name.startswith("system/") for name in run.data.metrics)
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2_image")]
        assert steps == sorted(set(steps))
        assert len(steps) > 3
        assert run.inputs.dataset_inputs
    trial = findings.recommended
    assert trial is not None
    version = client.get_model_version_by_alias("isoenergy-search", "recommended")
    mlflow.set_tracking_uri(mlflow_runs.tracking_uri())
    model = mlflow.pyfunc.load_model(version.source)
    assert model.metadata.signature is not None
    place = findings.sae_uris([trial])[0]
    assert SparseAutoencoder.load(place).config.beta == trial.beta

    before, table = outcomes(folder), (folder / "trials.csv").read_text()
    again = search(store, tmp_path)
    assert outcomes(folder) == before
    assert (folder / "trials.csv").read_text() == table
    assert again.hypervolume == findings.hypervolume
    resumed = tune.run(SearchConfig(resume="search", output=str(tmp_path)))
    assert resumed is not None
    assert resumed.recommended is not None
    assert resumed.recommended.name == trial.name
    assert outcomes(folder) == before
    assert len(child_runs(str(folder))) == 8
    with pytest.raises(InputError, match="another search: passes is 4 there and 5 here"):
        search(store, tmp_path, replace(SEARCH, passes=5))


def test_a_search_whose_driver_was_killed_runs_nothing_twice(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    arguments = [
        "tune", "--store", str(store), "--output", str(tmp_path), "--passes", "4", "--trials", "2", "--concurrent", "1",
        "--no-early-stopping", "--space.beta", "1e-4..1e-2", "--space.expansion", "2,4", "--space.k", "3,5",
        "--space.learning-rate", "5e-3", "--space.batch-pairs", "64", "--epochs", "60",
    ]  # fmt: skip

    def in_mid_pass() -> bool:
        reports = files_in(folder / "passes", "*/reports.json")
        return len(outcomes(folder)) >= 1 and len(reports) > len(outcomes(folder))

    run_until(arguments, in_mid_pass)
    ended = outcomes(folder)
    begun = {path.name for path in (folder / "passes").iterdir()}
    unfinished = [record for record in SearchFolder(str(folder)).passes() if record.outcome is None]
    assert any(record.reports for record in unfinished)
    findings = tune.run(SearchConfig(resume="search", output=str(tmp_path)))
    assert findings is not None
    after = outcomes(folder)
    assert {name: after[name] for name in ended} == ended
    assert begun <= set(after)
    assert len(after) == 4
    for record in unfinished:
        now = SearchFolder(str(folder)).read(record.id)
        assert now is not None
        assert now.reports[: len(record.reports)] == record.reports  # gone on with, not begun anew
    runs = child_runs(str(folder))
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = MlflowClient(mlflow_runs.tracking_uri())
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2_image")]
        assert steps == sorted(set(steps))
        assert max(steps) == findings.trials[0].record.reports[-1].step
    parents = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert [client.get_run(parent).info.status for parent in parents] == ["FINISHED"]


def test_what_fails_is_on_record_with_its_reason_and_the_rest_goes_on(store: Path, tmp_path: Path) -> None:
    space = replace(SPACE, batch_pairs=Dimension(values=(64.0, 100_000.0)), beta=Dimension(values=(1e-3, 1e39)))
    findings = search(store, tmp_path, replace(SEARCH, searcher="grid", space=space, grid_points=2))
    assert Counter(trial.status for trial in findings.trials) == {"finished": 4, "failed": 12}
    reasons = {trial.reason for trial in findings.trials if trial.status == "failed"}
    assert any("100000" in reason.replace(",", "") for reason in reasons)
    assert any("not finite" in reason for reason in reasons)
    runs = child_runs(str(tmp_path / "search"))
    assert Counter(run.info.status for run in runs) == {"FINISHED": 4, "FAILED": 12}
    assert all(run.data.tags["reason"] for run in runs if run.info.status == "FAILED")


def test_halving_stops_passes_early_and_says_so(store: Path, tmp_path: Path) -> None:
    config = replace(SEARCH, passes=9, early_stopping=True, searcher="random", concurrent=1)
    findings = search(store, tmp_path, config)
    counts = Counter(trial.status for trial in findings.trials)
    assert counts["stopped"] > 0
    assert counts["finished"] > 0
    assert counts["stopped"] + counts["finished"] == 18
    for trial in findings.trials:
        assert (trial.record.reports[-1].part < 9) == (trial.status == "stopped")
    early = [run for run in child_runs(str(tmp_path / "search")) if run.data.tags.get("early_stopped") == "true"]
    assert len(early) == counts["stopped"]
    assert {run.info.status for run in early} == {"FINISHED"}


def test_a_pass_on_two_workers_is_that_on_one(store: Path, tmp_path: Path) -> None:
    config = replace(SEARCH, passes=1, rungs=2)
    one = search(store, tmp_path / "one", config)
    two = search(store, tmp_path / "two", replace(config, workers=2))
    assert [trial.status for trial in two.trials] == ["finished", "finished"]
    pairs = zip(one.sae_uris(one.finished), two.sae_uris(two.finished), strict=True)
    for first, second in pairs:
        torch.testing.assert_close(
            SparseAutoencoder.load(first).dictionary, SparseAutoencoder.load(second).dictionary, atol=1e-4, rtol=0
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpus": 1000}, "1000 CPUs"),
        ({"gpus": 3.0}, "3 GPUs"),
        ({"store": ""}, "--store STORE, or --resume NAME"),
        ({"resume": "nothing"}, "no search 'nothing'"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(
    store: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tune.run(replace(SEARCH, **{"store": str(store), "output": str(tmp_path), **change}))


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.run(replace(SEARCH, store=str(store), output=str(tmp_path), dry_run=True, early_stopping=True)) is None
    said = capsys.readouterr().out
    assert "pass-0003" in said
    assert "early stopping: after 1/9, 3/9" in said
    assert not any(tmp_path.iterdir())


def test_a_search_without_a_finished_trial_ends_with_the_reason(store: Path, tmp_path: Path) -> None:
    space = replace(SPACE, beta=Dimension(values=(1e39,)))
    with pytest.raises(InputError, match=r"no trial .* came to its end: .*not finite"):
        search(store, tmp_path, replace(SEARCH, passes=1, space=space))
    assert json.loads((tmp_path / "search/passes/pass-0000/outcome.json").read_text())["status"] == "failed"
