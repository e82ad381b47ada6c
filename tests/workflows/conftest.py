import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from workflows import engine

SECONDS_TO_START = 300


@pytest.fixture(scope="session")
def on_ray() -> Iterator[None]:
    """One Ray for all tests of the session."""
    engine.connect()
    yield
    ray.shutdown()


def run_until(arguments: list[str], happened: Callable[[], bool]) -> None:
    """Start `isoenergy …` in a process group of its own and kill the group, outright, once `happened()`."""
    command = [sys.executable, "-m", "workflows.cli", *arguments]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + SECONDS_TO_START
        while not happened():
            assert process.poll() is None, f"{command} ended by itself with {process.returncode}"
            assert time.monotonic() < give_up, f"{command} came to nothing"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def files_in(folder: Path, pattern: str = "*") -> set[Path]:
    return set(folder.glob(pattern)) if folder.exists() else set()
