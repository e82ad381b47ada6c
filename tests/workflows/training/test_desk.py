"""Where workers take what they are to do, without workers."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from workflows.training.desk import Desk


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, timeout=60))


async def is_waiting(task: asyncio.Task[Any]) -> bool:
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_work_is_done_when_all_workers_have_done_it_and_none_takes_it_twice(desk: Desk) -> None:
    async def story() -> None:
        given = asyncio.create_task(desk.give(["first"]))
        assert await desk.take(-1) == await desk.take(-1) == (0, ["first"])
        await desk.done(0, rank=1, workers=2)
        again = asyncio.create_task(desk.take(0))
        assert await is_waiting(given)
        assert await is_waiting(again)
        await desk.done(0, rank=0, workers=2)
        await given
        given = asyncio.create_task(desk.give(["second"]))
        assert await again == (1, ["second"])

    run(story())


def test_workers_that_start_again_take_what_is_not_done_and_nothing_that_is(desk: Desk) -> None:
    async def story() -> None:
        given = asyncio.create_task(desk.give(["first"]))
        assert await desk.take(-1) == (0, ["first"])
        assert await desk.take(-1) == (0, ["first"])
        await desk.done(0, rank=0, workers=1)
        await given
        started_again = asyncio.create_task(desk.take(-1))
        assert await is_waiting(started_again)
        given = asyncio.create_task(desk.give(["second"]))
        assert await started_again == (1, ["second"])
        await desk.done(0, rank=0, workers=1)
        assert await is_waiting(given)

    run(story())


def test_those_that_wait_are_let_go(desk: Desk) -> None:
    async def story() -> None:
        waiting = asyncio.create_task(desk.take(-1))
        assert await is_waiting(waiting)
        await desk.end()
        assert await waiting is None

    run(story())
