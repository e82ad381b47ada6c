"""What several makings of one result do to each other, in every order; the object store is one in memory."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.workflows.steps.number_steps import due, run, sum_of_two
from workflows.steps import step_plan
from workflows.steps.step import Step
from workflows.steps.step_execution import execute
from workflows.steps.step_storage import storage_at

SECONDS = 30
LATE = "late"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = f"memory://{tmp_path.name}"
    yield place
    storage_at(place).forget()
    MemoryFileSystem.store.clear()


@pytest.fixture
def step() -> Step:
    return sum_of_two().inputs["a"]


class LateMaking:
    """A making of a step, as by a task that was given up for lost, that stops where its record is to be written."""

    def __init__(self, step: Step, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        write = MemoryFileSystem.pipe_file

        def write_when_told(filesystem: MemoryFileSystem, path: str, value: bytes, **options: object) -> None:
            if threading.current_thread().name.startswith(LATE) and path.endswith("/step.json"):
                self._reached.set()
                assert self._go_on.wait(SECONDS)
            write(filesystem, path, value, **options)

        monkeypatch.setattr(MemoryFileSystem, "pipe_file", write_when_told)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=LATE)
        self._made: Future[str] = self._pool.submit(step_plan.run_step, step, root)
        assert self._reached.wait(SECONDS)

    def end(self) -> None:
        self._go_on.set()
        self._made.result(SECONDS)


def number(step: Step, root: str) -> str:
    """Read a result from where it lies, not from this node's copy."""
    storage_at(root).forget()
    with storage_at(root).inputs([step.folder]) as found:
        return (found[step.folder][1] / "number").read_text()


def makings(step: Step, root: str) -> set[str]:
    names = MemoryFileSystem().find(f"{root}/{step.folder}")
    return {name.split(f"{step.folder}/")[1].split("/")[0] for name in names} - {"step.json"}


def before_removing(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Have something happen once, just before a run removes its first file."""
    remove, left = MemoryFileSystem.rm_file, [happens]

    def rm_file(filesystem: MemoryFileSystem, path: str) -> None:
        if left and threading.current_thread().name.startswith("sweep"):
            left.pop()()
        remove(filesystem, path)

    monkeypatch.setattr(MemoryFileSystem, "rm_file", rm_file)


def test_a_making_that_ends_after_another_of_the_same_run_is_whole(
    step: Step, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateMaking(step, root, monkeypatch)
    step_plan.run_step(step, root)
    late.end()
    assert number(step, root) == "1"


def test_a_making_that_ends_after_the_next_run_has_swept_it_away_is_whole(
    step: Step, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateMaking(step, root, monkeypatch)
    run(step, root)
    assert len(makings(step, root)) == 1
    late.end()
    assert number(step, root) == "1"


def test_a_making_whose_record_comes_while_it_is_swept_away_leaves_a_whole_result(
    step: Step, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateMaking(step, root, monkeypatch)
    before_removing(monkeypatch, late.end)
    run(step, root)
    assert number(step, root) == "1"


def test_a_first_making_whose_record_comes_while_it_is_swept_away_is_none_or_whole(
    step: Step, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateMaking(step, root, monkeypatch)
    before_removing(monkeypatch, late.end)
    other = sum_of_two().inputs["b"]
    run(other, root)
    run(sum_of_two(), root)
    assert number(step, root) == "1"
    assert step_plan.result(sum_of_two(), root) == {"sum": 21}


def test_a_run_leaves_one_making_of_each_result(step: Step, root: str) -> None:
    run(sum_of_two(), root)
    first = makings(step, root)
    MemoryFileSystem().pipe_file(f"{root}/{step.folder}/killed/number", b"half")
    run(sum_of_two(), root, force=("read/a",))
    assert len(makings(step, root)) == 1
    assert makings(step, root) != first
    assert step_plan.result(sum_of_two(), root) == {"sum": 21}


@pytest.mark.parametrize("where", ["on an object store", "in a folder"])
def test_a_making_that_began_before_another_was_put_up_gives_way(
    where: str, step: Step, root: str, tmp_path: Path
) -> None:
    """What has been made from the other stays current."""
    root = root if where == "on an object store" else str(tmp_path / "steps")
    target, made, began, go_on = sum_of_two(), step.function, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> dict[str, Any]:
        began.set()
        assert go_on.wait(SECONDS)
        return made(*arguments)

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(execute, replace(step.fixed(root), function=slow))
        assert began.wait(SECONDS)
        for each in (*target.inputs.values(), target):
            step_plan.run_step(each, root)
        go_on.set()
        late.result(SECONDS)
    assert due(target, root) == []
