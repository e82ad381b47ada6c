"""A run's secrets come by its environment, and are nowhere in what it leaves behind."""

import shutil
import subprocess
import sys
import tempfile
import traceback
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from isoenergy.errors import InputError
from tests.workflows.processes import free_ports, without_ray_address
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows.tracking import mlflow_runs

ROOT = Path(__file__).parents[3]
PASSWORD = "the-password-of-mlflow-4711"
SECRETS = {
    name: f"the-value-of-{name.lower().replace('_', '-')}-4711"
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "RAY_AUTH_TOKEN",
    )
}


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the Ray that a run starts keeps its session and logs; a short path, as Ray's sockets lie below."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def files_that_hold(folders: list[Path], words: str) -> list[Path]:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return [file for file in files if words.encode() in file.read_bytes()]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.server
def test_no_secret_is_in_what_a_run_prints_logs_or_leaves(
    ray_folder: Path,
    tmp_path: Path,
    filled: Path,
) -> None:
    command = [
        sys.executable,
        "-m",
        "workflows.cli",
        "train",
        "--store",
        str(filled),
        "--output",
        str(tmp_path / "run"),
    ]
    size = ["--beta", "0,1e-3", "--expansion", "2", "--k", "2", "--epochs", "4", "--batch-pairs", "6"]
    with MlflowServer(tmp_path).running() as server:
        tracked = {
            "MLFLOW_TRACKING_URI": server.uri.replace("://", f"://someone:{PASSWORD}@"),
            "RAY_AUTH_MODE": "token",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [*command, *size],
            env=without_ray_address() | SECRETS | tracked,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "printed").write_text(done.stdout + done.stderr)
    folders = [tmp_path, ray_folder]
    there = {"printed": "beta-0.001", "server.db": "isoenergy_identity", "dashboard_agent.log": "INFO"}
    for kind, known in there.items():
        assert any(file.match(kind) for file in files_that_hold(folders, known)), f"{known} is in no {kind}"
    for secret in (PASSWORD, *SECRETS.values()):
        assert files_that_hold(folders, secret) == []


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own variables, which are set where a URL has a user and a password; as they were afterwards."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.usefixtures("credentials")
def test_an_mlflow_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{PASSWORD}@127.0.0.1:{port}")
    with (
        pytest.raises(InputError, match=f"MLflow at http://127.0.0.1:{port}") as refused,
        mlflow_runs.stage("x", {}, ""),
    ):
        pass
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))
    assert PASSWORD not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("password", [PASSWORD, "p@ss/w:rd %41"])
def test_a_password_in_mlflow_s_url_gets_to_the_server(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        Thread(target=refusing.serve_forever, daemon=True).start()
        uri = f"http://someone:{quote(password, safe='')}@127.0.0.1:{refusing.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(InputError), mlflow_runs.stage("x", {}, ""):
            pass
        refusing.shutdown()
    assert {*asked} == {"Basic " + b64encode(f"someone:{password}".encode()).decode()}
