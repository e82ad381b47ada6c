import importlib
import json
import os
import pkgutil
import subprocess
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import ClassVar

import mlflow.data
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from isoenergy.errors import InputError
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows import settings
from workflows.command import Terminated
from workflows.settings.pipeline_settings import PipelineConfig
from workflows.settings.tune_settings import DEMO_SPACE
from workflows.tracking import code_version, heartbeat, mlflow_runs
from workflows.tracking.tracking_client import allowed_name, allowed_tags


@dataclass(frozen=True)
class Inner:
    k: int = 3


@dataclass(frozen=True)
class Settings:
    inner: Inner = Inner()
    name: str = "x" * 1000
    workers: int = 1
    HOW_IT_IS_RUN: ClassVar = ("workers",)


_NO_RUNS = ("share_settings", "submit_settings", "tune_settings")


def client() -> MlflowClient:
    return MlflowClient(mlflow_runs.tracking_uri())


def test_the_parameters_of_a_search_are_those_of_a_pipeline_that_searches(tmp_path: Path) -> None:
    for tune in (False, True):
        config = PipelineConfig(output=str(tmp_path), tune=tune, space=DEMO_SPACE)
        with mlflow_runs.stage("pipeline", config, f"{tmp_path}/{tune}") as run:
            pass
        there = client().get_run(run.id).data.params
        assert {"passes", "trials", "space.beta.low"} & there.keys() == (
            {"passes", "trials", "space.beta.low"} if tune else set()
        )
        assert "training.beta" in there


def test_parameters_metrics_and_parents(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    with (
        mlflow_runs.stage("pipeline", Settings(), "out-1") as parent,
        mlflow_runs.stage("train", Settings(), "out-1", parent) as run,
    ):
        run.metric_history([(step, {"loss": 1 / step}) for step in range(1, 1501)])
        run.metrics({"beta-1e+06@v1/r2": 0.5})
        run.tags({"sae/beta-1e+06@v1": "digest"})
        run.artifact(tmp_path / "file.txt")
        assert client().get_run(run.id).info.status == "RUNNING"
    record = client().get_run(run.id)
    assert record.data.params["inner.k"] == "3"
    assert record.data.tags["mlflow.parentRunId"] == parent.id
    assert record.data.metrics["beta-1e_06_v1/r2"] == 0.5
    assert record.data.tags["sae/beta-1e_06_v1"] == "digest"
    assert len(client().get_metric_history(run.id, "loss")) == 1500
    assert [file.path for file in client().list_artifacts(run.id)] == ["file.txt"]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (Terminated, "KILLED")]
)
def test_the_final_status_is_true_and_an_unfinished_run_goes_on(error: type[BaseException], status: str) -> None:
    output = f"out-{error.__name__}"
    with pytest.raises(error), mlflow_runs.stage("embed", Settings(), output) as first:
        raise error
    assert client().get_run(first.id).info.status == status
    with mlflow_runs.stage("embed", Settings(), output) as second:
        pass
    assert second.id == first.id
    assert client().get_run(first.id).info.status == "FINISHED"


def test_a_finished_command_that_is_repeated_is_the_same_run_unless_its_code_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ran() -> str:
        with mlflow_runs.stage("embed", Settings(), "repeated") as run:
            pass
        return run.id

    first = ran()
    assert ran() == first
    monkeypatch.setattr(mlflow_runs, "git_commit", lambda: "0" * 40)
    other = ran()
    assert other != first
    assert ran() == other
    assert [run.info.status for run in runs_of("repeated")] == ["FINISHED"] * 2


def test_a_run_that_goes_on_with_other_resources_is_the_same_run() -> None:
    with pytest.raises(KeyboardInterrupt), mlflow_runs.stage("train", Settings(), "resources") as first:
        raise KeyboardInterrupt
    with mlflow_runs.stage("train", Settings(workers=2), "resources") as second:
        assert second.id == first.id
    (run,) = runs_of("resources")
    assert (run.info.status, run.data.params["workers"]) == ("FINISHED", "1")
    assert json.loads(run.data.tags["isoenergy_how"]) == {"workers": "2"}
    with mlflow_runs.stage("train", Settings(inner=Inner(4)), "resources") as third:
        assert third.id != first.id


def test_a_run_whose_process_is_gone_becomes_killed_and_what_lives_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    api = client()
    with mlflow_runs.stage("train", Settings(), "lives") as lives:
        lost = api.create_run(lives.experiment, tags={heartbeat.TAG: "1000000000"}).info.run_id
        below = api.create_run(lives.experiment, tags={"mlflow.parentRunId": lost}).info.run_id
        silent = api.create_run(lives.experiment).info.run_id
        with mlflow_runs.stage("report", Settings(), "next"):
            pass
        assert [api.get_run(run).info.status for run in (lost, below)] == ["KILLED"] * 2
        assert [api.get_run(run).info.status for run in (lives.id, silent)] == ["RUNNING"] * 2
    monkeypatch.setattr(heartbeat, "_SECONDS_BETWEEN", 0.01)
    with mlflow_runs.stage("train", Settings(), "beats") as beats:
        api.set_tag(beats.id, heartbeat.TAG, "0")
        for _ in range(500):
            if api.get_run(beats.id).data.tags[heartbeat.TAG] != "0":
                break
        assert api.get_run(beats.id).data.tags[heartbeat.TAG] != "0"


def test_a_run_of_a_process_of_this_machine_that_is_gone_becomes_killed_at_once() -> None:
    script = "from workflows.tracking import heartbeat; print(*heartbeat.tags().values(), sep='\\n')"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    here, _, its_number = ended[1].rpartition(" ")[0].rpartition(" ")
    processes = {
        "ended": ended[1],
        "number given again": f"{here} {os.getpid()} 1.0",
        "another machine": f"0{here} {its_number} 1.0",
        "lives": heartbeat.tags()[heartbeat.PROCESS_TAG],
    }
    with mlflow_runs.stage("train", Settings(), "processes") as lives:
        api = client()
        made = {
            name: api.create_run(lives.experiment, tags={heartbeat.TAG: ended[0], heartbeat.PROCESS_TAG: process})
            for name, process in processes.items()
        }
        with mlflow_runs.stage("report", Settings(), "next of them"):
            pass
        found = {name: api.get_run(run.info.run_id).info.status for name, run in made.items()}
        for name in ("another machine", "lives"):
            api.set_terminated(made[name].info.run_id)
    killed = dict.fromkeys(("ended", "number given again"), "KILLED")
    assert found == killed | dict.fromkeys(("another machine", "lives"), "RUNNING")


def test_a_finished_run_keeps_its_end_and_all_of_it_if_nothing_was_left_to_do() -> None:
    def ran(value: float, is_done: bool = False) -> None:
        with mlflow_runs.stage("embed", Settings(), "kept", is_done=is_done) as run:
            status.append(client().get_run(run.id).info.status)
            run.metrics({"pairs": value})

    status: list[str] = []
    ran(1.0)
    (first,) = runs_of("kept")
    ran(2.0, is_done=True)
    (second,) = runs_of("kept")
    assert (second.info.end_time, second.data.metrics) == (first.info.end_time, {"pairs": 1.0})
    ran(3.0)
    (third,) = runs_of("kept")
    assert (third.info.status, third.info.end_time) == ("FINISHED", first.info.end_time)
    assert third.data.metrics == {"pairs": 3.0}
    assert status == ["RUNNING", "FINISHED", "RUNNING"]


def test_a_run_goes_on_with_the_parameters_that_its_last_life_did_not_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_runs.Run, "parameters", cut_short)
        with pytest.raises(KeyboardInterrupt), mlflow_runs.stage("embed", Settings(), "cut short"):
            pass
    (left,) = runs_of("cut short")
    assert (left.info.status, left.data.params) == ("RUNNING", {})
    with mlflow_runs.stage("embed", Settings(), "cut short") as run:
        pass
    assert run.id == left.info.run_id
    assert client().get_run(run.id).data.params["inner.k"] == "3"


def runs_of(output: str) -> list[Run]:
    experiment = client().get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    return list(client().search_runs([experiment.experiment_id], f"tags.isoenergy_output = '{output}'"))


def test_a_run_names_what_it_reads_once_and_mlflow_finds_it_there() -> None:
    fingerprint = "0123456789abcdef" * 4
    with mlflow_runs.stage("train", Settings(), "reads") as run:
        for _ in range(2):
            run.dataset("/data/stores/clip", fingerprint, "training")
        run.dataset("s3://user:secret@bucket/other", fingerprint[::-1], "evaluation")
    local, remote = client().get_run(run.id).inputs.dataset_inputs
    assert (local.dataset.name, local.dataset.digest) == ("clip", fingerprint[:36])
    assert json.loads(local.dataset.profile) == {"fingerprint": fingerprint}
    assert mlflow.data.get_source(local.dataset).uri == "/data/stores/clip"
    assert mlflow.data.get_source(remote.dataset).uri == "s3://bucket/other"
    with mlflow_runs.stage("train", Settings(), "made") as run:
        run.dataset("/runs/saes/store", fingerprint, "training", "s3://user:secret@bucket/vectors/")
    (made,) = client().get_run(run.id).inputs.dataset_inputs
    assert made.dataset.name == "vectors"  # not `store`, as in any other output
    assert [tag.value for used in (local, remote) for tag in used.tags] == ["training", "evaluation"]


def test_a_table_that_is_logged_again_takes_the_place_of_the_first() -> None:
    with mlflow_runs.stage("evaluate", Settings(), "table") as run:
        for value in (0.25, 0.5):
            run.table("measures.json", {"measure": ["r2", "gap"], "sae": [value, None]})
    table = client().load_table(run.experiment, "measures.json", run_ids=[run.id])
    assert table["measure"].tolist() == ["r2", "gap"]
    assert table["sae"].tolist() == pytest.approx([0.5, float("nan")], nan_ok=True)


def test_a_description_shows_an_artifact_as_the_page_s_server_sends_it() -> None:
    with mlflow_runs.stage("evaluate", Settings(), "picture") as run:
        run.describe("It is told.", "gaps of all.png")
    told = client().get_run(run.id).data.tags["mlflow.note.content"]
    assert told == f"It is told.\n\n![gaps of all.png](get-artifact?path=gaps+of+all.png&run_uuid={run.id})"


@dataclass(frozen=True)
class Nested:
    k: int = 20
    epochs: int = 3


@dataclass(frozen=True)
class Chosen:
    HOW_IT_IS_RUN: ClassVar = ("workers",)

    store: str
    seed: int = 0
    workers: int = 1
    inner: Nested = field(default_factory=Nested)


def test_parameters_that_were_chosen_come_first_and_how_it_is_run_last() -> None:
    with mlflow_runs.stage("train", Chosen("store", workers=7, inner=Nested(epochs=9)), "ordered") as run:
        pass
    assert list(client().get_run(run.id).data.params) == ["store", "inner.epochs", "seed", "inner.k", "workers"]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    answer = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file, where this program's code is then looked for."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "code_version.py").write_text("one")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    monkeypatch.setattr(code_version, "_FILE", folder / "code_version.py")
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    return folder


def test_a_run_has_the_commit_of_its_code_and_says_if_files_have_changed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somebody/s/venv/bin/isoenergy", "train"])
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked").write_text("")
    for output, dirty in (("clean", "false"), ("changed", "true")):
        with mlflow_runs.stage("train", Settings(), output) as run:
            pass
        tags = client().get_run(run.id).data.tags
        assert tags["mlflow.source.git.commit"] == commit
        assert tags["mlflow.source.git.dirty"] == dirty
        assert tags["mlflow.source.name"] == "isoenergy"
        (checkout / "code_version.py").write_text("two")


def test_the_commit_is_that_of_the_job_where_there_is_no_repository_and_absent_if_nobody_knows(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "venv").mkdir()
    (checkout / "venv" / "code_version.py").write_text("installed into a folder of somebody else's repository")
    monkeypatch.setattr(code_version, "_FILE", checkout / "venv" / "code_version.py")
    assert code_version.git_commit() is None
    for config in ("", "[]", "{}", '{"metadata": null}', '{"metadata": {"git_commit": "unknown"}}'):
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", config)
        assert code_version.git_commit() is None
        assert "mlflow.source.git.commit" not in mlflow_runs.source_tags("train.py")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"git_commit": "abc-dirty"}}')
    assert mlflow_runs.source_tags("/job/workflows/train.py") == {
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "JOB",
        "mlflow.source.git.commit": "abc",
        "mlflow.source.git.dirty": "true",
    }
    monkeypatch.setenv("PATH", "")
    assert code_version.git_commit() == "abc-dirty"


@pytest.mark.parametrize(
    "name", ["β = 1e+06", "../../x", "..", ".", "/a", "a//b/", "a/../../b", "x" * 300, "a" * 249 + "/b", "é/ü"]
)
def test_every_name_is_made_one_that_mlflow_takes(name: str) -> None:
    with mlflow_runs.stage("names", {name: 1}, name) as run:
        run.metrics({name: 0.5})
        run.tags({name: "there"})
    record = client().get_run(run.id).data
    assert record.metrics == {allowed_name(name): 0.5}
    assert record.params == {allowed_name(name): "1"}
    assert record.tags[allowed_name(name)] == "there"


def test_tags_are_cut_and_hold_no_password() -> None:
    given = {"reason": "of s3://user:secret@host/a and https://user@host/b?c@d", "long": "x" * 10_000}
    assert allowed_tags(given) == {"reason": "of s3://host/a and https://host/b?c@d", "long": "x" * 5000}


def test_a_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    with (
        pytest.raises(InputError, match=r"MLflow at http://127\.0\.0\.1:1 cannot be used") as refused,
        mlflow_runs.stage("train", Settings(), "out"),
    ):
        pass
    assert "secret" not in str(refused.value)


@pytest.mark.server
def test_a_server_gets_runs_and_artifacts(
    mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    (tmp_path / "report.html").write_text("page")
    with mlflow_runs.stage("report", Settings(), "out") as run:
        run.metrics({"loss": 0.5})
        run.artifact(tmp_path / "report.html")
    record = MlflowClient(mlflow_server.uri).get_run(run.id)
    assert record.info.status == "FINISHED"
    assert record.data.metrics == {"loss": 0.5}
    assert [path.read_text() for path in mlflow_server.artifacts.rglob(f"{run.id}/**/report.html")] == ["page"]


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(settings.__path__)])
def test_how_a_stage_is_run_is_no_part_of_what_its_run_is(module: str) -> None:
    """A search leaves it out of its plan itself; sharing and submitting are no runs."""
    found = vars(importlib.import_module(f"workflows.settings.{module}")).values()
    for config in [each for each in found if isinstance(each, type) and is_dataclass(each)]:
        how = {"patience", "dry_run", "workers", "force"} & {item.name for item in fields(config)}
        if config.__module__.endswith(module) and module not in _NO_RUNS:
            assert how <= set(getattr(config, "HOW_IT_IS_RUN", ())), config
