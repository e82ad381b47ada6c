"""A tracking server with its artifacts in a bucket, which dies in the middle of a search."""

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow.artifacts
import pytest

from isoenergy import SparseAutoencoder
from tests.s3.seaweedfs import S3Server
from tests.sae.small_sae import sae
from tests.workflows.tracking.mlflow_server import MlflowServer
from tests.workflows.tracking.told_searches import (
    FINGERPRINT,
    PARAMETERS,
    STORE,
    children,
    client,
    models_of,
    tell,
)
from workflows.tracking import mlflow_runs, outbox
from workflows.tracking.search_tracking import SearchTracking

pytestmark = [pytest.mark.slow, pytest.mark.server]


@pytest.fixture(params=["--artifacts-destination", "--default-artifact-root"])
def server(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[MlflowServer]:
    """A server through which artifacts go to a bucket, or which sends its clients there."""
    monkeypatch.setattr(outbox, "_SECONDS_BETWEEN", 0.05)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3.endpoint)
    with MlflowServer(tmp_path, request.param, f"s3://{s3.bucket()}/artifacts").running() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        yield server


def test_an_outage_holds_up_no_caller_and_loses_and_doubles_nothing(
    server: MlflowServer, s3: S3Server, tmp_path: Path
) -> None:
    sae().save(tmp_path / "sae")
    with mlflow_runs.stage("tune", {}, "outage") as parent:
        search = SearchTracking(parent, "outage", STORE, FINGERPRINT)
        search.begin("one", PARAMETERS)
        for step in range(200):
            search.metrics("one", step, {"loss": float(step)})
        while search.unsent() > 190:
            time.sleep(0.001)
        server.kill()
        waiting = search.unsent()
        for step in range(100, 1500):
            search.metrics("one", step, {"loss": float(step)})
        search.end("one", "FINISHED", model=tmp_path / "sae")
        tell(search, "two")
        search.register_best("one", "survivor", "best")
        said_meanwhile = 1400 + 2 + 5 + 1
        assert search.unsent() == waiting + said_meanwhile
        server.start()
        assert search.close(600) == 0
    runs = children(parent)
    assert {name: run.info.status for name, run in runs.items()} == {"one": "FINISHED", "two": "FINISHED"}
    steps = {name: [p.step for p in client().get_metric_history(run.info.run_id, "loss")] for name, run in runs.items()}
    assert {name: sorted(held) for name, held in steps.items()} == {"one": [*range(1500)], "two": [*range(3)]}
    (model,) = models_of(runs["one"])
    assert client().get_model_version_by_alias("survivor", "best").run_id == runs["one"].info.run_id
    kept = [path for bucket in s3.filesystem.ls("") for path in s3.filesystem.find(bucket) if model.model_id in path]
    assert {path.rpartition("/")[2] for path in kept} >= {"sae.safetensors", "config.json", "MLmodel"}
    folder = mlflow.artifacts.download_artifacts("models:/survivor@best")
    assert SparseAutoencoder.load(folder).digest == sae().digest
