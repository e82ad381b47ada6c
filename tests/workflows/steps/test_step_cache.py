import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

from isoenergy.errors import InputError
from workflows.steps import step_cache
from workflows.steps.step_cache import StepCache

SECONDS_TO_START = 60
HANGS = """
import sys, time
from pathlib import Path
from workflows.steps.step_cache import StepCache

def fill(folder):
    (folder / "half").write_text("")
    Path(sys.argv[1]).write_text("")
    time.sleep(600)

with StepCache("root").folder("entry", fill):
    pass
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(step_cache, "_FREE", 0)
    return folder


def write(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "text").write_text(text) and None


def refuse(_: Path) -> None:
    raise AssertionError("it was there")


def test_what_is_there_is_not_fetched_again_and_goes_with_the_rest(temporary: Path) -> None:
    cache = StepCache("root")
    with cache.folder("entry", write("one")) as first, StepCache("root").folder("entry", refuse) as second:
        assert first == second
        assert [path.name for path in first.iterdir()] == ["text"]
        with StepCache("other root").folder("entry", write("two")) as other:
            assert other != first
            assert (other / "text").read_text() == "two"
    cache.clear()
    with StepCache("other root").folder("entry", refuse):
        pass
    StepCache("other root").clear()
    assert list(temporary.iterdir()) == []


def test_of_many_that_want_it_at_once_one_fetches(temporary: Path) -> None:
    threads, filled = 8, []
    together = Barrier(threads)

    def fill(folder: Path) -> None:
        filled.append(folder)
        time.sleep(0.1)
        (folder / "text").write_text("whole")

    def use(_: int) -> str:
        cache = StepCache("root")
        together.wait()
        with cache.folder("entry", fill) as folder:
            found = (folder / "text").read_text()
            together.wait()  # no one waits for those that only use it
            return found

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(use, range(threads))) == ["whole"] * threads
    assert len(filled) == 1
    StepCache("root").clear()
    assert list(temporary.iterdir()) == []


def test_what_is_used_is_not_removed_and_what_is_not_is() -> None:
    cache = StepCache("root")
    with cache.folder("used", write("one")) as used:
        with cache.folder("unused", write("two")) as unused:
            pass
        StepCache("root").clear()
        assert (used / "text").read_text() == "one"
        assert not unused.parent.exists()


def test_fetching_and_removing_at_once_loses_nothing(temporary: Path) -> None:
    ended = Event()

    def clear() -> None:
        while not ended.is_set():
            StepCache("root").clear()

    def use(number: int) -> int:
        with StepCache("root").folder(str(number % 3), write("whole")) as folder:
            return len((folder / "text").read_text())

    with ThreadPoolExecutor(6) as pool:
        clearing = [pool.submit(clear) for _ in range(2)]
        try:
            assert set(pool.map(use, range(600))) == {len("whole")}
        finally:
            ended.set()
        for task in clearing:
            task.result()
    StepCache("root").clear()
    assert list(temporary.iterdir()) == []


def test_a_failure_leaves_nothing_and_the_next_one_tries() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("no luck")

    cache = StepCache("root")
    with pytest.raises(OSError, match="no luck"), cache.folder("entry", fail):
        pass
    with cache.folder("entry", write("one")) as folder:
        assert [path.name for path in folder.iterdir()] == ["text"]


def test_what_a_killed_process_left_is_fetched_again(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", HANGS, str(begun)])
    try:
        give_up = time.monotonic() + SECONDS_TO_START
        while not begun.exists():
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        StepCache("root").clear()
        assert len(list(tmp_path.glob("temporary/*/*/entry/*/half"))) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with StepCache("root").folder("entry", write("one")) as folder:
        assert [path.name for path in folder.iterdir()] == ["text"]


def test_a_disk_that_is_nearly_full_is_cleared_of_what_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, places = StepCache("root"), {}
    with cache.folder("used", write("one")) as places["used"]:
        for root in ("root", "other root"):
            with StepCache(root).folder("unused", write("two")) as places[root]:
                pass
        assert all(place.exists() for place in places.values())
        monkeypatch.setattr(step_cache, "_FREE", 1.1)
        with cache.folder("new", write("three")) as new:
            assert [name for name, place in places.items() if place.exists()] == ["used"]
            assert (new / "text").read_text() == "three"


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    with pytest.raises(InputError, match="is another user's; set TMPDIR"), StepCache("root").folder("entry", refuse):
        pass
