"""What only Ray shows of each stage: work is spread, and what is killed is done again.

What a stage makes of its input is tested in one process, and more of it on Ray in the second tier.
"""

import json
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.training.trainer import TrainingConfig
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.browser import Watched, chromium
from tests.pairs.made_up_pairs import RowsWriter, bad_rows, written_rows
from tests.workflows.embedding_stores import ENCODER, keys, keys_of
from tests.workflows.killed_pass import REPORTS, KillingFolder
from tests.workflows.killed_workers import kill_a_worker_once
from tests.workflows.processes import files_in
from tests.workflows.searches import SEARCH, child_runs
from tests.workflows.training.ended_training import EndedAt, note_and_kill_this_process, note_this_process
from tests.workflows.training.standing_training import STANDS_AT, config_of
from tests.workflows.waiting_pairs import WaitingPairs
from workflows import embed, pipeline, train, tune
from workflows.embed import EmbedConfig
from workflows.pipeline import PipelineConfig
from workflows.tracking import mlflow_runs
from workflows.training.ray_training import RayTraining
from workflows.training.training_here import TrainingHere
from workflows.training.training_placement import Workers

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def test_bad_pairs_are_rejected_and_an_encoder_that_is_killed_loses_none(
    tmp_path: Path,
    write_rows: RowsWriter,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = bad_rows()
    write_rows([*bundled_rows[:20], *bad.values(), *bundled_rows[20:40]], tmp_path / "pairs" / "a.parquet")
    write_rows([bundled_rows[5], *bundled_rows[40:50]], tmp_path / "pairs" / "b.parquet")
    ended = tmp_path / "killed"
    source = WaitingPairs(settings["pairs"], "b.parquet", ended)
    monkeypatch.setattr(embed, "open_source", lambda *_: source)
    commits = tmp_path / "store" / "commits"
    kill_a_worker_once(lambda: bool(files_in(commits, "*.json")), "Encode", ended)

    config = EmbedConfig(**settings | {"rows_per_unit": 16, "batch_rows": 6})
    (store,) = embed.run(config)
    assert ended.exists()
    expected = dict.fromkeys((reason for reason in bad if reason != "good"), 1) | {"duplicate_key": 2}
    assert store.rejected == expected
    rejected = pq.read_table(tmp_path / "store" / "rejected").to_pylist()
    assert {row["reason"]: row["row"] for row in rejected if row["file"] == "a.parquet"} == {
        reason: 20 + place for place, reason in enumerate(bad) if reason != "good"
    }
    assert keys(store) == sorted(["good", *keys_of(bundled_rows[:50])])
    assert store.rows_in == len(store) + sum(store.rejected.values())
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert (summary["run"]["pairs"], summary["rows_in"], summary["embedded"]) == (63, 63, len(store))


def test_two_workers_that_train_twice_and_of_which_one_is_killed_train_what_one_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = str(write_planted_store(tmp_path / "store", *planted_pairs(300, 24), pairs_a_shard=100))
    first = config_of(store, str(tmp_path / "first"))
    second = replace(first, output=str(tmp_path / "second"), training=replace(first.training, null=True))
    noted, noted_again, told, killed = (tmp_path / name for name in ("noted", "noted-again", "told", "killed"))
    engine = RayTraining()
    with engine.keeping_workers():
        trained = train.run(first, engine=EndedAt(engine, STANDS_AT, partial(note_this_process, noted), told))
        kill = partial(note_and_kill_this_process, noted_again)
        trained += train.run(second, engine=EndedAt(engine, STANDS_AT, kill, killed))
    assert noted.read_text() == noted_again.read_text()
    assert "a worker was lost" in caplog.text
    assert not [*tmp_path.glob("*/.ray")]
    alone = [replace(each, output=f"{each.output}-alone", workers=Workers(1, 1)) for each in (first, second)]
    expected = [uri for config in alone for uri in train.run(config, engine=TrainingHere())]
    for ours, theirs in zip(trained, expected, strict=True):
        dictionaries = [SparseAutoencoder.load(place).dictionary.detach() for place in (ours, theirs)]
        torch.testing.assert_close(*dictionaries, atol=1e-5, rtol=0)


def test_a_pass_whose_process_is_killed_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(write_planted_store(tmp_path / "store", *planted_pairs(1500, 16), pairs_a_shard=500))
    config = replace(SEARCH, passes=1, concurrent=1, store=store, output=str(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        patch.setattr("tune.search.SearchFolder", KillingFolder)
        findings = tune.run(config)
    assert findings is not None
    assert KillingFolder.killed(config.folder).exists()
    assert [trial.status for trial in findings.trials] == ["finished", "finished"]
    (record,) = findings.folder.passes()
    assert [report.part for report in record.reports] == [*range(1, len(record.reports) + 1)]
    assert len(record.reports) > REPORTS
    undisturbed = tune.run(replace(config, output=str(tmp_path / "whole")))
    assert undisturbed is not None
    for one, other in zip(findings.trials, undisturbed.trials, strict=True):
        assert one.measures == other.measures
    assert {run.info.status for run in child_runs(config.folder)} == {"FINISHED"}


@dataclass(frozen=True)
class Piped:
    config: PipelineConfig
    printed: str


@pytest.fixture(scope="module")
def piped(on_ray: None, tmp_path_factory: pytest.TempPathFactory, bundled_rows: list[dict]) -> Piped:  # noqa: ARG001
    """The whole pipeline, on few pairs and with an encoder that is none."""
    folder = tmp_path_factory.mktemp("pipeline")
    pairs = written_rows(bundled_rows[:600], folder / "pairs.parquet")
    training = TrainingConfig(beta=(1e-3,), expansion=2, k=4, epochs=2, batch_pairs=60)
    config = PipelineConfig(
        output=str(folder / "run"), pairs=str(pairs), encoder=ENCODER, workers=Workers(1, 1), training=training
    )
    printed = StringIO()
    with redirect_stdout(printed):
        pipeline.run(config)
    return Piped(config, printed.getvalue())


def test_a_pipeline_is_a_run_with_a_child_a_stage_and_a_second_one_does_nothing_twice(
    piped: Piped, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = (run for run in runs if str(run.info.run_name).startswith("pipeline · "))
    assert parent.info.run_name == f"pipeline · {ENCODER} · pairs.parquet"
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    names = {str(run.info.run_name).partition(" · ")[0] for run in children}
    assert names >= {"embed", "evaluate", "report"}
    assert len(children) == 5
    (evaluated,) = (run for run in children if str(run.info.run_name).startswith("evaluate · "))
    assert parent.data.metrics == pytest.approx(evaluated.data.metrics, nan_ok=True)
    assert len(parent.data.metrics) > 20
    trained = sorted(str(run.info.run_name) for run in children if "atoms · seed" in str(run.info.run_name))
    assert len(trained) == 2
    assert trained[1].endswith(" · shuffled pairs")
    assert parent.data.tags["mlflow.note.content"].startswith("Bimodal atoms of SAE-A")
    assert [used.dataset.name for used in parent.inputs.dataset_inputs] == ["pairs.parquet"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}

    parts = (
        *("store/*/*", "saes/beta-*/*", "null-saes/null-*/*", "evaluation/steps/*/*"),
        *("report.html*", "figures/*", "tables/*"),
    )
    before = {path: path.stat().st_mtime_ns for part in parts for path in Path(piped.config.output).glob(part)}
    assert len(before) > 40
    pipeline.run(piped.config)
    assert {path: path.stat().st_mtime_ns for part in parts for path in Path(piped.config.output).glob(part)} == before
    summary = piped.printed[piped.printed.index("Bimodal atoms of SAE-A") :]
    assert summary in capsys.readouterr().out


def test_a_dry_run_says_what_it_cannot_know_yet_and_exits_with_3(
    piped: Piped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(output: Path) -> str:
        pipeline.start(replace(piped.config, output=str(output), dry_run=True))
        return capsys.readouterr().out

    with pytest.raises(SystemExit, match=r"^3$"):
        planned(tmp_path / "new")
    assert "train, evaluate, report:\n  cannot be planned before there is the store" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()

    tmp_path.joinpath("embedded").mkdir()
    tmp_path.joinpath("embedded", "store").symlink_to(Path(piped.config.output, "store"))
    with pytest.raises(SystemExit, match=r"^3$"):
        planned(tmp_path / "embedded")
    plan = capsys.readouterr().out
    assert "train on shuffled pairs:\n" in plan
    assert f"cannot be planned before there is {tmp_path}/embedded/saes/beta-0.001" in plan

    assert planned(Path(piped.config.output)).endswith("of the same evaluation and code\n")


@pytest.mark.browser
def test_its_report_opens_in_a_browser(piped: Piped) -> None:
    with chromium() as started:
        watched = Watched(started.new_page(viewport={"width": 1280, "height": 900}))
        page = watched.page
        page.goto(Path(piped.config.output, "report.html").absolute().as_uri())
        pictures = page.evaluate("Array.from(document.images, i => [i.alt, i.complete && i.naturalWidth > 0])")
        text = page.inner_text("body")
        page.locator("#explorer").scroll_into_view_if_needed()
        page.locator("#explorer-list > li").first.wait_for()
    assert watched.troubles == []
    assert watched.requests_elsewhere == []
    assert len(pictures) > 8
    assert [alt for alt, drawn in pictures if not drawn] == []
    assert "Bimodal atoms of SAE-A" in text
    assert "against the null model: the same objective" in text.replace("\N{NO-BREAK SPACE}", " ")
