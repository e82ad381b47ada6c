"""Steps whose results lie in a bucket: those that lie in a folder, whole or not there, whatever is killed or spoilt."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.storage import s3 as s3_module
from tests.s3.proxy import Fault, FaultProxy, Request, matching, share
from tests.s3.seaweedfs import S3Server
from tests.workflows.steps.number_steps import (
    Number,
    add,
    due,
    fail,
    read,
    run,
    sum_of_parts,
    sum_of_two,
    sum_with_a_wait,
)
from workflows.steps import step_bucket, step_plan
from workflows.steps.step import Step
from workflows.steps.step_storage import storage_at

pytestmark = pytest.mark.server

SECONDS_TO_START = 120
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.TORN, Fault.RESET]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@dataclass(frozen=True)
class Root:
    """A place for steps in a bucket of its own, seen past any proxy."""

    server: S3Server
    path: str

    @property
    def uri(self) -> str:
        return f"s3://{self.path}"

    def files(self, step: Step | None = None) -> dict[str, int]:
        """Sizes by path below the root, or below a step's folder."""
        place = f"{self.path}/{step.folder}" if step else self.path
        found = self.server.filesystem.find(place, detail=True)
        return {path.removeprefix(f"{place}/"): info["size"] for path, info in found.items()}

    def record(self, step: Step) -> bytes:
        return self.server.filesystem.cat_file(f"{self.path}/{step.folder}/step.json")

    def put(self, name: str, data: bytes) -> None:
        self.server.filesystem.pipe_file(f"{self.path}/{name}", data)

    def remove(self, name: str) -> None:
        self.server.filesystem.rm_file(f"{self.path}/{name}")


@pytest.fixture
def root(s3: S3Server, proxy: FaultProxy) -> Root:
    del proxy
    return Root(s3, f"{s3.bucket()}/an evaluation/steps")


def test_results_are_those_of_a_folder_and_nothing_is_left_on_the_disk(
    root: Root, tmp_path: Path, temporary: Path
) -> None:
    target = Step("all", add, None, {**sum_of_parts(10, "sae[1] β?/").inputs, **sum_of_two().inputs})
    assert len(due(target, root.uri)) == 13
    assert root.files() == {}
    run(target, root.uri)
    run(target, tmp_path / "here")
    assert step_plan.result(target, root.uri) == step_plan.result(target, tmp_path / "here") == {"sum": 66}
    assert due(target, root.uri) == []
    for item in step_plan.plan([target], root.uri):
        here = json.loads((tmp_path / "here" / item.step.folder / "step.json").read_text())
        there = json.loads(root.record(item.step))
        assert {**there, "provenance": 0} == {**here, "provenance": 0, "stored": there["stored"]}
    nodes = [step_plan.graph(step_plan.plan([target], place), place) for place in (root.uri, tmp_path / "here")]
    assert [node.name for node in nodes[0]] == [node.name for node in nodes[1]]
    assert list(temporary.iterdir()) == []


def test_a_second_run_and_a_plan_write_nothing(root: Root, proxy: FaultProxy) -> None:
    run(sum_of_two(), root.uri)
    proxy.begin_anew()
    run(sum_of_two(), root.uri)
    assert step_plan.describe(step_plan.plan([sum_of_two()], root.uri, force=("sum",))).count(" run") == 1
    assert {request.method for request in proxy.requests} == {"GET"}


def test_what_is_forced_replaces_what_was_and_only_that_is_left(root: Root) -> None:
    run(sum_of_two(), root.uri)
    a, b = sum_of_two().inputs.values()
    before = {step.name: step_plan.files(step, root.uri) for step in (a, b)}
    run(sum_of_two(), root.uri, force=("read/b",))
    assert step_plan.files(a, root.uri) == before["read/a"]
    assert step_plan.files(b, root.uri) != before["read/b"]
    assert set(root.files(b)) == {"step.json", f"{step_plan.files(b, root.uri).removeprefix(f'{b.folder}/')}/number"}
    run(sum_of_two(), root.uri, force=("read/b",), only=("read/b",))
    assert due(sum_of_two(), root.uri) == ["sum"]


def test_a_failed_step_leaves_nothing(root: Root, temporary: Path) -> None:
    with pytest.raises(step_plan.StepError, match="step fail: RuntimeError: no luck"):
        run(Step("sum", add, None, {"bad": Step("fail", fail, None), **sum_of_two().inputs}), root.uri)
    assert due(sum_of_two(), root.uri) == ["sum"]
    assert not any("fail" in name for name in root.files())
    assert list(temporary.iterdir()) == []


def killed_when(root: Root, marker: Path, happened: Callable[[], bool]) -> None:
    """Run the sum of three in a process of its own and kill it once `happened()`."""
    process = subprocess.Popen([sys.executable, "-m", "tests.workflows.steps.number_steps", root.uri, str(marker)])
    try:
        give_up = time.monotonic() + SECONDS_TO_START
        while not happened():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("silent", "left"),
    [("/number", []), ("/step.json", ["number"])],
    ids=["in the middle of an upload", "before the record"],
)
def test_a_run_that_is_killed_while_it_puts_a_result_up_goes_on(
    silent: str, left: list[str], root: Root, proxy: FaultProxy, tmp_path: Path, temporary: Path
) -> None:
    marker, waits = tmp_path / "marker", sum_with_a_wait(tmp_path / "marker").inputs["waits"]
    marker.write_text("")
    hang = f"/{waits.folder}/"

    def silence(request: Request) -> Fault | None:
        wanted = request.method == "PUT" and hang in request.target and request.target.endswith(silent)
        return Fault.SILENCE if wanted else None

    proxy.rule = silence
    killed_when(root, marker, lambda: proxy.done[Fault.SILENCE] > 0)
    proxy.rule = lambda _: None
    target = sum_with_a_wait(marker)
    assert [name.rpartition("/")[2] for name in root.files(waits)] == left
    assert list(temporary.iterdir()) != []
    assert due(target, root.uri) == ["waits", "total"]
    done = {step.name: step_plan.files(step, root.uri) for step in sum_of_two().inputs.values()}
    run(target, root.uri)
    assert step_plan.result(target, root.uri) == {"sum": 24}
    assert {step.name: step_plan.files(step, root.uri) for step in sum_of_two().inputs.values()} == done
    assert len(root.files(waits)) == 2
    assert list(temporary.iterdir()) == []


def test_a_forced_step_that_is_killed_leaves_what_was(root: Root, proxy: FaultProxy, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_text("")
    target = sum_with_a_wait(marker)
    waits = target.inputs["waits"]
    run(target, root.uri)
    first = root.record(waits)
    proxy.rule = matching("/number", Fault.SLOW_DOWN, "PUT")
    os.environ["AWS_MAX_ATTEMPTS"], before = "1", os.environ.get("AWS_MAX_ATTEMPTS")
    try:
        with pytest.raises(InputError, match=r"step waits: .*503"):
            run(target, root.uri, force=("waits",))
    finally:
        os.environ.pop("AWS_MAX_ATTEMPTS") if before is None else os.environ.update(AWS_MAX_ATTEMPTS=before)
    proxy.rule = lambda _: None
    assert root.record(waits) == first
    assert due(target, root.uri) == []


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"{",
        b"null",
        b'{"provenance": {}}',
        b'{"stored": {"making": "x", "files": []}}',
        b'{"stored": {"making": "../x", "files": {}}}',
        b'{"stored": {"making": "x", "files": {"../../y": [1, "z"]}}}',
        b'{"stored": {"making": "x", "files": {"y": "z"}}}',
        b"\xff\xfe",
    ],
)
def test_a_record_that_is_not_whole_is_none(root: Root, spoilt: bytes) -> None:
    run(sum_of_two(), root.uri)
    root.put(f"{sum_of_two().folder}/step.json", spoilt)
    assert due(sum_of_two(), root.uri) == ["sum"]
    run(sum_of_two(), root.uri)
    assert step_plan.result(sum_of_two(), root.uri) == {"sum": 21}


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [(None, "number has no bytes, not 2"), (b"200", "number has 3 bytes"), (b"21", "number has another digest")],
)
def test_a_result_that_is_not_what_its_record_says_is_made_again(
    root: Root, spoilt: bytes | None, reason: str, temporary: Path
) -> None:
    b = sum_of_two().inputs["b"]
    run(sum_of_two(), root.uri)
    file = f"{step_plan.files(b, root.uri)}/number"
    if spoilt is None:
        root.remove(file)
    else:
        root.put(file, spoilt)
    again = Step("again", add, None, sum_of_two().inputs)
    with pytest.raises(InputError, match=rf"step again: {root.uri}/read-b-.* is not what .*{reason}.*makes it again"):
        run(again, root.uri)
    assert due(again, root.uri) == ["read/b", "again"]
    run(again, root.uri)
    assert step_plan.result(again, root.uri) == {"sum": 21}
    assert list(temporary.iterdir()) == []


def test_a_result_that_is_replaced_while_it_is_fetched_is_fetched_anew(root: Root, proxy: FaultProxy) -> None:
    step = sum_of_two().inputs["a"]
    run(step, root.uri)
    first = root.record(step)
    run(step, root.uri, force=("read/a",))
    second = root.record(step)
    root.put(f"{step.folder}/step.json", first)

    def replace(request: Request) -> None:
        if "list-type" in request.target:
            root.put(f"{step.folder}/step.json", second)

    proxy.rule = replace
    with storage_at(root.uri).inputs([step.folder]) as found:
        record, folder = found[step.folder]
        assert record == json.loads(second)
        assert (folder / "number").read_text() == "1"
    storage_at(root.uri).forget()


def test_a_making_that_another_has_swept_away_gives_way(root: Root, proxy: FaultProxy) -> None:
    """As where a step's task was given up for lost, and ends all the same, just after the one in its place."""
    step = sum_of_two().inputs["a"]
    run(step, root.uri)
    other = root.record(step)

    def sweep(request: Request) -> None:
        if "list-type" in request.target:
            for name in root.files(step).keys() - {steps_of(other), "step.json"}:
                root.remove(f"{step.folder}/{name}")

    proxy.rule = sweep
    step_plan.run_step(step, root.uri)
    proxy.rule = lambda _: None
    assert root.record(step) == other
    assert set(root.files(step)) == {steps_of(other), "step.json"}
    run(sum_of_two(), root.uri)
    assert step_plan.result(sum_of_two(), root.uri) == {"sum": 21}


def steps_of(record: bytes) -> str:
    """The file that the record of a number names."""
    return f"{json.loads(record)['stored']['making']}/number"


def test_runs_at_once_in_one_place_do_not_break_each_other(root: Root, temporary: Path) -> None:
    target = Step("all", add, None, sum_of_parts(6).inputs)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: run(target, root.uri), range(3)))
    assert step_plan.result(target, root.uri) == {"sum": 15}
    run(target, root.uri)
    assert due(target, root.uri) == []
    assert list(temporary.iterdir()) == []


def test_two_steps_at_once_fetch_an_input_once(root: Root, proxy: FaultProxy) -> None:
    step = sum_of_two().inputs["a"]
    run(step, root.uri)
    proxy.begin_anew()

    def use(_: int) -> str:
        with storage_at(root.uri).inputs([step.folder]) as found:
            return (found[step.folder][1] / "number").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == ["1"] * 4
    assert len([request for request in proxy.requests if request.target.endswith("/number")]) == 1
    storage_at(root.uri).forget()


def test_a_file_is_fetched_in_ranges(root: Root, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_bucket, "_RANGE", 3)
    step = Step("read", read, Number(12345678))
    run(step, root.uri)
    proxy.begin_anew()
    with storage_at(root.uri).inputs([step.folder]) as found:
        assert (found[step.folder][1] / "number").read_text() == "12345678"
    storage_at(root.uri).forget()
    ranges = [request.range for request in proxy.requests if request.target.endswith("/number")]
    assert ranges == ["bytes=0-2", "bytes=3-5", "bytes=6-7"]


def test_faults_that_pass_change_nothing(root: Root, proxy: FaultProxy) -> None:
    proxy.rule = share(0.15, *PASSING, seed=2)
    target = Step("all", add, None, {**sum_of_parts(8).inputs, **sum_of_two().inputs})
    run(target, root.uri)
    assert sum(proxy.done[fault] for fault in PASSING) > 1
    assert due(target, root.uri) == []
    assert step_plan.result(target, root.uri) == {"sum": 49}


def test_an_outage_is_an_error_and_not_steps_that_are_due(
    root: Root, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sum_of_two(), root.uri)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxy.rule = lambda _: Fault.SLOW_DOWN
    with pytest.raises(InputError, match="503"):
        due(sum_of_two(), root.uri)
