from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from workflows import tracking
from workflows.command import Terminated


@dataclass(frozen=True)
class Inner:
    k: int = 3


@dataclass(frozen=True)
class Settings:
    inner: Inner = Inner()
    name: str = "x" * 1000


def client() -> MlflowClient:
    return MlflowClient(tracking.tracking_uri())


def test_parameters_metrics_and_parents(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    with (
        tracking.stage("pipeline", Settings(), "out-1") as parent,
        tracking.stage("train", Settings(), "out-1", parent) as run,
    ):
        run.metric_history([(step, {"loss": 1 / step}) for step in range(1, 1501)])
        run.artifact(tmp_path / "file.txt")
        assert client().get_run(run.id).info.status == "RUNNING"
    record = client().get_run(run.id)
    assert record.data.params["inner.k"] == "3"
    assert record.data.tags["mlflow.parentRunId"] == parent.id
    assert len(client().get_metric_history(run.id, "loss")) == 1500
    assert [file.path for file in client().list_artifacts(run.id)] == ["file.txt"]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (Terminated, "KILLED")]
)
def test_the_final_status_is_true_and_an_unfinished_run_goes_on(error: type[BaseException], status: str) -> None:
    output = f"out-{error.__name__}"
    with pytest.raises(error), tracking.stage("embed", Settings(), output) as first:
        raise error
    assert client().get_run(first.id).info.status == status
    with tracking.stage("embed", Settings(), output) as second:
        pass
    assert second.id == first.id
    assert client().get_run(first.id).info.status == "FINISHED"
    with tracking.stage("embed", Settings(), output) as third:
        pass
    assert third.id != first.id


def test_a_password_is_not_printed() -> None:
    assert tracking.without_password("postgresql://user:secret@host/db") == "postgresql://host/db"
