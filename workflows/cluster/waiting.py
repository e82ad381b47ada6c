"""Waiting for room on a cluster: said before anybody wonders, again each minute, and ended when patience is over."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray

from isoenergy.errors import InputError
from workflows.cluster.ray_internals import cluster_states, growth

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BEFORE_A_LINE, _SECONDS_BETWEEN_LINES = 8.0, 60.0


class Waiting:
    """Looks after a stage, some of whose work may have no room."""

    def __init__(self, stage: str, patience: float, waits: Callable[[], str]) -> None:
        """Begin with nothing that waits.

        stage: its name, for people. patience: seconds that something may wait without a break. waits: what has no room
        now, for people, such as `2 × {CPU: 1}`; empty if all that matters has.
        """
        self._stage, self._patience, self._waits = stage, patience, waits
        self._next_look = 0.0
        self._since: float | None = None
        self._next_line = 0.0

    def look(self) -> None:
        """Say what waits, and for how long; often called, it looks now and then. Raises InputError out of patience."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _SECONDS_BETWEEN_LOOKS
        what = self._waits()
        if not what:
            self._since = None
            return
        if self._since is None:
            self._since, self._next_line = now, _SECONDS_BEFORE_A_LINE
        waited = now - self._since
        if waited >= self._patience:
            raise out_of_patience(self._stage, what, self._patience)
        if waited >= self._next_line:
            self._next_line = waited + _SECONDS_BETWEEN_LINES
            autoscaler = "; the autoscaler was asked for it" if growth() else ""
            _LOG.info("%s: waiting for %s, %.0f s%s", self._stage, what, waited, autoscaler)


def out_of_patience(stage: str, what: str, patience: float) -> InputError:
    """Return the error of a stage for whose work (`what`) there was no room for `patience` seconds."""
    return InputError(
        f"{stage}: there was no room for {what} for {patience / 60:g} minutes; wait until the cluster has room, add "
        f"nodes, or ask for less, and run the same command again: it goes on. --patience waits longer"
    )


class Pending:
    """Counts the requests for a bundle of resources that the cluster, to which this process is connected, cannot meet.

    They are the driver's own as far as nobody else asks for just the same.
    """

    def __init__(self, bundle: Mapping[str, float]) -> None:
        self._bundle = {kind: amount for kind, amount in bundle.items() if amount}
        self._state_now = cluster_states()

    def count(self) -> int:
        """Return how many wait, alone or in a placement group; 0 if the cluster does not answer just now."""
        try:
            state: Any = self._state_now()
        except Exception:  # Ray's own kinds; a head under load answers late, and the run goes on
            return 0
        alone = sum(int(each.count) for each in state.pending_resource_requests if self._is_ours(each.request))
        gangs = state.pending_gang_resource_requests
        return alone + sum(self._is_ours(request) for gang in gangs for request in gang.requests)

    def text(self, count: int) -> str:
        """Return `count` bundles for people."""
        return f"{count} × {{{', '.join(f'{kind}: {amount:g}' for kind, amount in self._bundle.items())}}}"

    def _is_ours(self, request: Any) -> bool:
        return dict(request.resources_bundle) == self._bundle


def waiting_tasks(stage: str, patience: float, bundle: Mapping[str, float]) -> Waiting:
    """Return what looks after tasks or workers that each take `bundle`; see `Waiting`."""
    pending = Pending(bundle)

    def waits() -> str:
        count = pending.count()
        return pending.text(count) if count else ""

    return Waiting(stage, patience, waits)


def result_of(reference: Any, waiting: Waiting) -> Any:
    """Return what a task comes to; what it waits for meanwhile is said. Raises InputError out of patience."""
    while not ray.wait([reference], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
        waiting.look()
    return ray.get(reference)
