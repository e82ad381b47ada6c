"""A search in MLflow: whatever the server does, nothing waits for it, nothing is lost, nothing is there twice."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow.artifacts
import pytest

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from tests.s3.proxy import Fault, FaultProxy, first, matching
from tests.sae.small_sae import sae
from tests.workflows.tracking.mlflow_server import MlflowServer
from tests.workflows.tracking.told_searches import (
    FINGERPRINT,
    STORE,
    children,
    client,
    history,
    models_of,
    tell,
)
from workflows.tracking import mlflow_runs, outbox
from workflows.tracking.search_tracking import SearchTracking


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_SECONDS_BETWEEN", 0.05)
    monkeypatch.setattr(outbox, "_LONGEST_WAIT", 0.2)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[mlflow_runs.Run]:
    with mlflow_runs.stage("tune", {}, str(tmp_path)) as run:
        yield run


def test_a_search_is_a_run_with_a_child_a_candidate(parent: mlflow_runs.Run) -> None:
    search = SearchTracking(parent, "a", STORE, FINGERPRINT)
    tell(search, "one")
    search.begin("two", {"beta": 1e-3})
    search.end("two", "FAILED", {"reason": "diverged, at s3://user:secret@bucket/x"})
    search.begin("three", {})
    search.begin("four", {})
    search.end("three", "KILLED")
    assert search.close() == 0
    runs = children(parent)
    assert {name: run.info.status for name, run in runs.items()} == {
        "one": "FINISHED",
        "two": "FAILED",
        "three": "KILLED",
        "four": "RUNNING",
    }
    data = runs["one"].data
    assert data.params == {"beta": "0.0001", "sae.k": "20", "sae.expansion": "4", "notes": "x" * 500, "β/_": "odd"}
    assert data.tags["sampler"] == "grid"
    assert data.tags["stopped_by"] == "halving"
    assert data.tags["store_fingerprint"] == FINGERPRINT
    assert history(runs["one"], "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert len(history(runs["one"], "system/cpu_utilization_percentage")) == 3
    (read,) = runs["one"].inputs.dataset_inputs
    assert (read.dataset.name, read.dataset.digest) == ("store", FINGERPRINT[:36])
    assert not any("secret" in str(run.to_dictionary()) for run in runs.values())


def test_the_same_calls_by_a_driver_that_took_over_change_nothing(parent: mlflow_runs.Run, tmp_path: Path) -> None:
    sae().save(tmp_path / "sae")
    for steps in (range(5), range(3, 9)):
        search = SearchTracking(parent, "b", STORE, FINGERPRINT)
        tell(search, "one", steps, tmp_path / "sae")
        search.register_best("one", "replayed", "best")
        assert search.close() == 0
    (run,) = children(parent).values()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run, "loss")] == [*range(9)]
    assert [step for step, _ in history(run, "system/cpu_utilization_percentage")] == [*range(9)]
    assert len(run.inputs.dataset_inputs) == 1
    assert len(run.outputs.model_outputs) == 1
    assert len(models_of(run)) == 1
    assert len(client().search_model_versions("name = 'replayed'")) == 1


def test_a_driver_that_died_before_the_end_leaves_a_run_that_the_next_one_ends(parent: mlflow_runs.Run) -> None:
    first_life = SearchTracking(parent, "c", STORE, FINGERPRINT)
    first_life.begin("one", {"beta": 1})
    first_life.metrics("one", 0, {"loss": 1.0})
    assert first_life.close() == 0
    second_life = SearchTracking(parent, "c", STORE, FINGERPRINT)
    second_life.begin("one", {"beta": 2, "k": 3})
    second_life.metrics("one", 0, {"loss": 7.0, "r2": 0.5})
    second_life.metrics("one", 1, {"loss": 0.5})
    second_life.metrics("one", 1, {"loss": 0.25})
    second_life.end("one", "KILLED")
    second_life.metrics("one", 1, {"loss": 0.25})
    assert second_life.close() == 0
    (run,) = children(parent).values()
    assert run.info.status == "KILLED"
    assert run.data.params == {"beta": "1", "k": "3"}
    assert history(run, "loss") == [(0, 1.0), (1, 0.5)]
    assert history(run, "r2") == [(0, 0.5)]


def test_numbers_that_are_none_do_not_keep_the_others_out(parent: mlflow_runs.Run) -> None:
    search = SearchTracking(parent, "d", STORE, FINGERPRINT)
    search.begin("one", {})
    search.metrics("one", 0, {"loss": math.nan, "r2": math.inf, "β?": -math.inf, "fine": 1.0})
    search.metrics("one", 1, {"loss": math.nan, "r2": 0.5})
    assert search.close() == 0
    (run,) = children(parent).values()
    assert [math.isnan(value) for _, value in history(run, "loss")] == [True, True]
    assert history(run, "r2") == [(0, sys.float_info.max), (1, 0.5)]
    assert history(run, "β_") == [(0, -sys.float_info.max)]
    assert history(run, "fine") == [(0, 1.0)]


def test_what_is_refused_for_good_is_said_and_counted_and_holds_up_nothing_else(
    parent: mlflow_runs.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = SearchTracking(parent, "e", STORE, FINGERPRINT)
    search.metrics("never begun", 0, {"loss": 1.0})
    tell(search, "one", model=tmp_path / "nothing here")
    search.register_best("one", "no model", "best")
    tell(search, "two")
    assert search.close() == 3
    assert {name: run.info.status for name, run in children(parent).items()} == {"one": "FINISHED", "two": "FINISHED"}
    said = " ".join(caplog.messages)
    assert "refused metrics of never begun: never begun has no run in MLflow" in said
    assert "refused the model of one:" in said
    assert "is not a checkpoint: there is no such folder" in said
    assert "refused the registration of one: one has no logged model" in said
    assert "did not take 3 of the search's reports" in said


def test_the_best_is_registered_under_its_alias_and_loads(parent: mlflow_runs.Run, tmp_path: Path) -> None:
    search = SearchTracking(parent, "f", STORE, FINGERPRINT)
    for number in range(2):
        sae(number).save(tmp_path / f"{number}")
        tell(search, f"{number}", model=tmp_path / f"{number}")
        search.register_best(f"{number}", "best-of", "best")
    search.register_best("0", "best-of", "best")
    assert search.close() == 0
    versions = client().search_model_versions("name = 'best-of'")
    assert len(versions) == 2
    best = client().get_model_version_by_alias("best-of", "best")
    assert best.run_id == children(parent)["0"].info.run_id
    folder = mlflow.artifacts.download_artifacts("models:/best-of@best")
    assert SparseAutoencoder.load(folder).digest == sae(0).digest


@pytest.fixture
def proxy(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy to a server; the environment leads to it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    proxy = FaultProxy(mlflow_server.uri)
    with proxy.running():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        yield proxy


@pytest.mark.server
def test_a_server_that_stays_away_is_given_up_and_said(proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> None:
    with mlflow_runs.stage("tune", {}, "away") as parent:
        proxy.rule = lambda _: Fault.RESET
        search = SearchTracking(parent, "away", STORE, FINGERPRINT)
        tell(search, "one")
        assert search.close(patience=0.5) == 5
        proxy.begin_anew()
    assert "did not take 5 of the search's reports" in caplog.text


@pytest.mark.server
def test_a_server_that_is_gone_at_the_end_hides_neither_what_was_done_nor_why_it_failed(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    with mlflow_runs.stage("tune", {}, "gone") as run:
        proxy.rule = lambda _: Fault.RESET
        assert not mlflow_runs.send_if_it_answers(run, "the table", lambda: run.metrics({"done": 1.0}), patience=0)
        proxy.begin_anew()
    assert "did not take the table" in caplog.text
    assert client().get_run(run.id).info.status == "FINISHED"

    def fail() -> None:
        proxy.rule = lambda _: Fault.RESET
        raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"), mlflow_runs.stage("tune", {}, "gone too"):
        fail()
    assert "did not take that this run FAILED" in caplog.text
    with pytest.raises(InputError, match="cannot be used"):
        mlflow_runs.require_server()
    proxy.begin_anew()
    mlflow_runs.require_server()


@pytest.mark.server
def test_answers_that_are_lost_make_nothing_twice(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does what it is asked and the answer does not arrive; MLflow's own client then asks again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    sae().save(tmp_path / "sae")
    with mlflow_runs.stage("tune", {}, "lost") as parent:
        proxy.rule = first(1, Fault.LOST)
        search = SearchTracking(parent, "lost", STORE, FINGERPRINT)
        tell(search, "one", model=tmp_path / "sae")
        search.register_best("one", "lost", "best")
        assert search.close(600) == 0
        assert proxy.done[Fault.LOST] > 10
        proxy.begin_anew()
    (run,) = children(parent).values()
    assert history(run, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert len(run.inputs.dataset_inputs) == 1
    assert len(models_of(run)) == 1
    assert len(client().search_model_versions("name = 'lost'")) == 1


@pytest.mark.server
def test_a_model_that_cannot_be_uploaded_for_now_holds_up_no_other_candidate(proxy: FaultProxy, tmp_path: Path) -> None:
    sae().save(tmp_path / "sae")
    with mlflow_runs.stage("tune", {}, "upload") as parent:
        proxy.rule = matching("mlflow-artifacts", Fault.SLOW_DOWN)
        search = SearchTracking(parent, "upload", STORE, FINGERPRINT)
        tell(search, "one", model=tmp_path / "sae")
        search.register_best("one", "late", "best")
        for number in range(3):
            tell(search, f"later {number}")
        while search.unsent() > 2:
            time.sleep(0.01)
        assert {run.info.status for run in children(parent).values()} == {"FINISHED"}
        assert not client().search_registered_models("name = 'late'")
        proxy.begin_anew()
        assert search.close(600) == 0
    run = children(parent)["one"]
    assert client().get_model_version_by_alias("late", "best").run_id == run.info.run_id
    assert len(models_of(run)) == 1
