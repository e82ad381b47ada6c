import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from isoenergy.files import without_secrets
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
    assert without_secrets("postgresql://user:secret@host/db") == "postgresql://host/db"
    assert without_secrets("https://user:pw@host:81/a@b?X-Amz-Signature=abc") == "https://host:81/a@b"
    for plain in ("/a/b@c?d", "s3://bucket/a b?c", "sqlite:////a/b.db"):
        assert without_secrets(plain) == plain


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "kept"),
    ]
    process = subprocess.Popen([*command, *places], start_new_session=True, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None, "the MLflow server ended by itself"
            try:
                if urllib.request.urlopen(f"{uri}/health", timeout=5).status == 200:
                    break
            except OSError:
                time.sleep(0.2)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.server
def test_a_server_gets_runs_and_artifacts(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    (tmp_path / "report.html").write_text("page")
    with tracking.stage("report", Settings(), "out") as run:
        run.metrics({"loss": 0.5})
        run.artifact(tmp_path / "report.html")
    record = MlflowClient(server).get_run(run.id)
    assert record.info.status == "FINISHED"
    assert record.data.metrics == {"loss": 0.5}
    assert [path.read_text() for path in (tmp_path / "kept").rglob("report.html")] == ["page"]
