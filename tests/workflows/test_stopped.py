"""A command that is told to stop ends with one line and the signal's exit code, wherever in Ray's C++ it may be."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflows.steps.number_steps import Marker, wait_for
from tune.arena_trials import run_trials
from workflows.cluster import engine
from workflows.command import run_command, take_verbosity
from workflows.steps import on_ray, step_plan
from workflows.steps.step import Step

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGTERM, "tasks"), (signal.SIGINT, "tasks"), (signal.SIGTERM, "trials")]
)
def test_a_signal_is_one_line(number: signal.Signals, how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.workflows.test_stopped", str(tmp_path), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        while not (tmp_path / "marker.begun").exists():
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(number)
        said, _ = running.communicate()
    assert running.returncode == 128 + number
    told = [line for line in said.replace("\r", "\n").splitlines() if line.strip()]
    lines = [line for line in told if " steps" not in line and "of the work" not in line]
    assert lines == ["isoenergy: stopped; the same command goes on from what is done"]


def main() -> None:
    take_verbosity([])
    folder = Path(sys.argv[1])
    engine.connect()
    planned = step_plan.plan([Step("wait", wait_for, Marker(str(folder / "marker")))], folder / "steps")
    if sys.argv[2] == "trials":
        run_trials(planned, str(folder / "steps"), "arena")
    else:
        on_ray.run_on_ray(planned, folder / "steps", "evaluate")


if __name__ == "__main__":
    run_command(main)
