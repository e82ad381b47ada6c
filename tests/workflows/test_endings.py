import logging
from pathlib import Path

import pytest

from workflows import endings
from workflows.endings import Stages, explored, mlflow_lines, training_ending


def test_stages_are_numbered_and_timed(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "monotonic", iter([10.0, 82.0, 100.0]).__next__)
    stages = Stages(5)
    with caplog.at_level(logging.INFO, "workflows.endings"):
        with stages.stage("embed"):
            pass
        with pytest.raises(ValueError, match="stops"), stages.stage("train"):
            raise ValueError("it stops")
    assert caplog.messages == ["1/5 embed, 1 min 12 s", "2/5 train …"]


def test_a_training_ends_with_its_measures_its_saes_and_what_comes_next() -> None:
    lines = training_ending("my store", ["/runs/saes/beta-0", "/runs/saes/beta-1"], ["a table"]).splitlines()
    assert lines[1] == "a table"
    assert "SAEs       /runs/saes/beta-0" in lines
    assert "           /runs/saes/beta-1" in lines
    assert "measure    isoenergy evaluate --store 'my store' --saes /runs/saes" in lines


@pytest.mark.usefixtures("own_tracking")
def test_mlflow_is_opened_at_the_table_of_runs(tmp_path: Path) -> None:
    lines = mlflow_lines()
    assert lines[0] == f"MLflow     sqlite:///{tmp_path}/mlflow.db"
    assert lines[1].endswith(f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db")
    assert lines[2] == "           open it: http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"


def test_a_server_that_is_gone_costs_a_link_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_uri: str) -> str:
        raise OSError("gone")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    monkeypatch.setattr(endings, "runs_page", gone)
    assert mlflow_lines() == ["MLflow     http://127.0.0.1:1"]


def test_an_evaluation_says_how_to_look_around_in_the_saes_that_it_shows() -> None:
    saes = [{"name": "beta-0", "explorer": "steps/explorer"}, {"name": "null", "explorer": None}]
    summary = {"store": {"uri": "s3://key:secret@bucket/a store"}, "saes": saes}
    (line,) = explored(summary, ["/runs/a b/beta-0", "/runs/a b/null", "/runs/a b/beta-0-seed-1"])
    assert line.endswith("isoenergy explore '/runs/a b/beta-0' --store 's3://bucket/a store'")
    assert line.startswith("explore    ")
    assert explored(summary, []) == []
