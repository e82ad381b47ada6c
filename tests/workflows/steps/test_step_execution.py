import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from tests.workflows.steps.number_steps import Number, due, fail, read, run, sum_of_two, sum_with_a_wait
from workflows.steps import step_plan
from workflows.steps.step import Step
from workflows.steps.step_execution import Made
from workflows.steps.step_storage import storage_at

SECONDS_TO_START = 120


def test_a_run_that_was_killed_goes_on_and_what_it_left_is_swept(tmp_path: Path) -> None:
    root, marker = tmp_path / "root", tmp_path / "marker"
    target = sum_with_a_wait(marker)
    process = subprocess.Popen([sys.executable, "-m", "tests.workflows.steps.number_steps", str(root), str(marker)])
    try:
        give_up = time.monotonic() + SECONDS_TO_START
        while not Path(f"{marker}.begun").exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        with pytest.raises(InputError, match=r"another run is at work in .*root; wait for it"):
            run(target, root)
        assert len(list(root.glob(".step-waits-*/output/number"))) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert due(target, root) == ["waits", "total"]
    assert len(list(root.glob(".step-*"))) == 1
    marker.write_text("")
    before = {path: path.stat().st_mtime_ns for path in root.glob("*/step.json")}
    assert len(before) == 2
    run(target, root)
    assert list(root.glob(".step-*")) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    run(target, tmp_path / "whole")
    assert step_plan.result(target, root) == step_plan.result(target, tmp_path / "whole") == {"sum": 24}


def test_a_run_keeps_others_out_until_it_ends_also_badly(tmp_path: Path) -> None:
    with storage_at(tmp_path).alone(), pytest.raises(InputError, match="another run"):
        run(sum_of_two(), tmp_path)
    with pytest.raises(step_plan.StepError):
        run(Step("fail", fail, None), tmp_path)
    run(sum_of_two(), tmp_path)


def test_a_done_step_that_is_put_in_place_twice_is_there_once(tmp_path: Path) -> None:
    step = Step("read", read, Number(1))
    run(step, tmp_path)
    first = Made.of(storage_at(tmp_path).record(step.folder))
    step_plan.run_step(step, tmp_path)
    second = Made.of(storage_at(tmp_path).record(step.folder))
    assert first is not None
    assert second is not None
    assert second.started > first.started
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", step.folder]


def test_a_relative_root_means_the_same_in_a_process_with_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = sum_of_two().fixed(Path("root"))
    assert fixed.root == f"{tmp_path}/root"


def test_a_step_says_that_its_input_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(step_plan.StepError, match="step sum: FileNotFoundError"):
        step_plan.run_step(sum_of_two(), tmp_path)
    assert os.listdir(tmp_path) == []
