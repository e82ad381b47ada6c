"""Where a training's workers take what they are to do: an actor, whose process imports nothing but this."""

import asyncio
from typing import Any


class Desk:
    """Where workers take what they are to do, in its order; those that start again take what is not done yet."""

    def __init__(self) -> None:
        self._works: list[Any] = []
        self._done: set[int] = set()
        """Ranks of the workers that have done the last of them."""
        self._is_pending = self._has_ended = False
        self._changed = asyncio.Condition()

    async def give(self, work: list[Any]) -> None:
        """Put work there, in a list that keeps it from being read here, and return when it is done."""
        async with self._changed:
            self._works.append(work)
            self._done, self._is_pending = set(), True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._is_pending)

    async def take(self, after: int) -> tuple[int, list[Any]] | None:
        """Wait for work after that of a number, and return it with its own; None when there will be no more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_ended or (self._is_pending and len(self._works) - 1 > after))
            return None if self._has_ended else (len(self._works) - 1, self._works[-1])

    async def done(self, number: int, rank: int, workers: int) -> None:
        """Note that one of so many workers has done the work of a number."""
        async with self._changed:
            if number == len(self._works) - 1:
                self._done.add(rank)
                self._is_pending = self._is_pending and len(self._done) < workers
                self._changed.notify_all()

    async def end(self) -> None:
        """Let those go that wait for work."""
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()
