"""Parallel loops: every part once, errors seen, with and without an OpenMP runtime."""

import threading
from collections.abc import Iterator

import pytest
import torch

from isoenergy.compiling import threads
from isoenergy.compiling.threads import in_parallel


@pytest.fixture(params=["OpenMP", "thread pool"])
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads_before = torch.get_num_threads()
    torch.set_num_threads(2)  # whatever ran before in this process
    if request.param == "thread pool":
        monkeypatch.setattr(threads, "_openmp", lambda: None)
    elif threads._openmp() is None:
        pytest.skip("no OpenMP runtime that can be called")
    yield
    torch.set_num_threads(threads_before)


@pytest.mark.usefixtures("runtime")
@pytest.mark.parametrize("count", [0, 1, 31, 32, 1000])
def test_every_part_is_done_once(count: int) -> None:
    done: list[int] = []
    in_parallel(lambda first, last: done.extend(range(first, last)), count, 32)
    assert sorted(done) == list(range(count))


@pytest.mark.usefixtures("runtime")
def test_an_error_in_any_thread_reaches_the_caller() -> None:
    barrier = threading.Barrier(min(2, torch.get_num_threads()))

    def fail(first: int, last: int) -> None:
        barrier.wait(timeout=30)
        raise KeyError(first, last)

    with pytest.raises(KeyError):
        in_parallel(fail, barrier.parties, 1)


@pytest.mark.usefixtures("runtime")
def test_a_loop_may_be_started_in_any_thread() -> None:
    done: list[int] = []
    starter = threading.Thread(target=in_parallel, args=(lambda first, last: done.extend(range(first, last)), 100, 1))
    starter.start()
    starter.join()
    assert sorted(done) == list(range(100))
