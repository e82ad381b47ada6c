"""A real MLflow server on a free loopback port, which can be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS_TO_START = 300


class MlflowServer:
    """Its database and, unless options say otherwise, its artifacts are in a folder."""

    def __init__(self, folder: Path, *options: str, database: str = "") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self.artifacts = folder / "kept"
        self._folder = folder
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        self._command += ["--workers", "1", "--backend-store-uri", database or f"sqlite:///{folder}/server.db"]
        self._command += options or ("--artifacts-destination", str(self.artifacts))
        self._environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # twice as fast to start
        self._process: subprocess.Popen | None = None

    @contextmanager
    def running(self) -> Iterator["MlflowServer"]:
        """Start it, and kill it in the end."""
        try:
            self.start()
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        """Return when it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, start_new_session=True, cwd=self._folder, stdout=log, stderr=log, env=self._environment
            )
        wait_for(f"{self.uri}/health", self._process)

    def kill(self) -> None:
        """End it outright, with what it was doing."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Return when `url` answers with 200; fail if the process ends."""
    give_up = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < give_up:
        assert process.poll() is None, f"the server ended by itself with {process.returncode}"
        try:
            if urllib.request.urlopen(url, timeout=5).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer in {SECONDS_TO_START} s")
