import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from isoenergy.store import EmbeddingStore
from tests.group_services import SERVICES
from tests.pairs.made_up_pairs import written_rows
from tests.workflows.cluster.own_ray import joined_ray
from tests.workflows.embedding_stores import settings_of
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows import cli, embed
from workflows.embed import EmbedConfig
from workflows.tracking.tracking_client import client


@pytest.fixture(scope="session")
def on_ray() -> None:
    """One Ray for all tests that ask for it."""
    SERVICES.enter_context(joined_ray())


@pytest.fixture
def settings(tmp_path: Path) -> dict:
    """Of a run of `isoenergy embed` in the test's own folder."""
    return settings_of(tmp_path)


@pytest.fixture(scope="session")
def four_files(tmp_path_factory: pytest.TempPathFactory, bundled_rows: list[dict]) -> Path:
    """A folder `pairs` of four files, with 300 pairs each: 24 units of a run with `settings`."""
    folder = tmp_path_factory.mktemp("four-files") / "pairs"
    for file in range(4):
        written_rows(bundled_rows[file * 300 :][:300], folder / f"{file}.parquet")
    return folder


@pytest.fixture(scope="session")
def undisturbed(on_ray: None, four_files: Path) -> EmbeddingStore:  # noqa: ARG001
    """The store that a run over `four_files` makes if nothing happens to it."""
    (store,) = embed.run(EmbedConfig(**settings_of(four_files.parent)))
    return store


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> MlflowServer:
    """One MLflow server for all tests that ask for it; whoever kills it starts it again."""
    return SERVICES.enter_context(MlflowServer(tmp_path_factory.mktemp("mlflow")).running())


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs: MLflow takes seconds to make one."""
    file = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    client(f"sqlite:///{file}")
    return file


@pytest.fixture
def own_tracking(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs are tracked to a database of the test's own, which is returned."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Path(shutil.copyfile(empty_database, tmp_path / "mlflow.db"))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `isoenergy …`, which must exit with 2 and one line, and return the line."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["isoenergy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("isoenergy: ")
        assert "\n" not in error
        return error

    return run
