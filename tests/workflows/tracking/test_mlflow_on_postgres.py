"""A tracking server on PostgreSQL takes and gives what one on sqlite does."""

import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sae.small_sae import sae
from tests.workflows.tracking.mlflow_server import MlflowServer
from tests.workflows.tracking.told_searches import FINGERPRINT, STORE, children, client, history, models_of, tell
from workflows import compare
from workflows.compare import CompareConfig
from workflows.tracking import mlflow_runs
from workflows.tracking.search_tracking import SearchTracking

pytestmark = [pytest.mark.soak, pytest.mark.server]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server on a database of its own; the environment leads to it."""
    pgserver = pytest.importorskip("pgserver")
    pytest.importorskip("psycopg2")
    with tempfile.TemporaryDirectory() as folder:  # root's PostgreSQL runs as another user, who may not see tmp_path
        database = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            uri = database.get_uri().replace("postgresql:", "postgresql+psycopg2:")
            with MlflowServer(tmp_path, database=uri).running() as server:
                monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
                yield server
        finally:
            database.cleanup()


@pytest.mark.usefixtures("server")
def test_a_search_and_the_same_search_again(tmp_path: Path) -> None:
    sae().save(tmp_path / "sae")
    with mlflow_runs.stage("tune", {}, "postgres") as parent:
        for steps in (range(5), range(3, 9)):
            search = SearchTracking(parent, "postgres", STORE, FINGERPRINT)
            tell(search, "one", steps, tmp_path / "sae")
            search.begin("two", {"beta": 1.0})
            search.metrics("two", 0, {"loss": math.nan, "r2": math.inf, "fine": 1.0})
            search.end("two", "FAILED")
            search.register_best("one", "on-postgres", "best")
            assert search.close(600) == 0
    runs = children(parent)
    assert {name: run.info.status for name, run in runs.items()} == {"one": "FINISHED", "two": "FAILED"}
    assert [step for step, _ in history(runs["one"], "loss")] == [*range(9)]
    assert history(runs["two"], "r2") == [(0, sys.float_info.max)]
    assert history(runs["two"], "fine") == [(0, 1.0)]
    assert len(models_of(runs["one"])) == 1
    assert len(client().search_model_versions("name = 'on-postgres'")) == 1
    assert "nan" in compare.run(CompareConfig((f"{parent.id}/*",)))
