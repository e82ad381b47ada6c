"""The command: it says where the page is, serves it, and ends when it is told to."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.explorer.small_exploration import PAIRS, arrays, make_sae, make_store

pytestmark = pytest.mark.slow


@contextmanager
def explored(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """The running command, the page's address and its token."""
    make_sae().save(folder / "saes" / "beta-0")
    command = [
        sys.executable,
        "-m",
        "workflows.explore",
        f"{folder}/saes",
        "--port",
        "0",
        "--output",
        f"{folder}/output",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        found = re.fullmatch(r"explorer   (http://127\.0\.0\.1:\d+/)\?token=([\w-]+)\n", line)
        assert found, line
        yield running, found[1], found[2]
    finally:
        running.kill()
        running.wait()


def about(address: str, token: str) -> dict:
    with urlopen(Request(f"{address}api/about", headers={"x-explorer-token": token})) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_store_is_explored_until_the_command_is_told_to_end(tmp_path: Path, told: signal.Signals):
    with explored(tmp_path, "--store", str(make_store(tmp_path))) as (running, address, token):
        assert about(address, token)["pairs"] == PAIRS
        running.send_signal(told)
        _, said = running.communicate(timeout=60)
        assert said.startswith(f"explore: opening {tmp_path}/store\n")
        assert running.returncode == 0
        assert said.endswith("isoenergy: stopped\n")
        assert "goes on" not in said


@pytest.mark.ray
def test_vectors_are_copied_and_shown_without_an_encoder(tmp_path: Path):
    for name, rows in zip(("image", "text"), arrays(), strict=True):
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    place = f"{tmp_path}/image.npy,{tmp_path}/text.npy"
    with explored(tmp_path, "--store", place, "--modalities", "image,text") as (_, address, token):
        told = about(address, token)
        assert told["pairs"] == PAIRS
        assert "--encoder" in told["trouble"]
        assert not told["pictures"]


def test_a_port_that_is_taken_is_one_line(tmp_path: Path):
    with explored(tmp_path, "--store", str(make_store(tmp_path))) as (_, address, _token):
        port = address.rsplit(":", 1)[1].strip("/")
        command = [sys.executable, "-m", "workflows.explore", f"{tmp_path}/saes", "--store", f"{tmp_path}/store"]
        options = ["--port", port, "--output", f"{tmp_path}/output"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 is not to be had" in done.stderr
    assert len(done.stderr.splitlines()) == 1, "nothing is opened before"
