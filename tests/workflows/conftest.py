import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from isoenergy.store import EmbeddingStore
from tests.conftest import written_rows
from tests.workflows.embedding_stores import settings_of
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows import embed
from workflows.cluster import engine
from workflows.embed import EmbedConfig

SECONDS_TO_START = 300
SECONDS_TO_END = 30


@pytest.fixture(scope="session")
def on_ray() -> Iterator[None]:
    """One Ray for all tests of the session."""
    engine.connect()
    yield
    ray.shutdown()


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
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One MLflow server for all tests of the session; whoever kills it starts it again."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")).running() as server:
        yield server


def run_until(arguments: list[str], happened: Callable[[], bool]) -> None:
    """Start `isoenergy …`, and once `happened()` kill it and all that it started, outright."""
    command = [sys.executable, "-m", "workflows.cli", *arguments]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + SECONDS_TO_START
        while not happened():
            assert process.poll() is None, f"{command} ended by itself with {process.returncode}"
            assert time.monotonic() < give_up, f"{command} came to nothing"
            time.sleep(0.02)
    finally:
        started = _started_by(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for one in started:  # Ray's workers are in groups of their own, and would write on until they miss their node
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        psutil.wait_procs(started, timeout=SECONDS_TO_END)


def _started_by(process: subprocess.Popen) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def files_in(folder: Path, pattern: str = "*") -> set[Path]:
    return set(folder.glob(pattern)) if folder.exists() else set()
