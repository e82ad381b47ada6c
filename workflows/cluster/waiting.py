"""Waiting for room on a cluster: said before anybody wonders, again each minute, and ended when patience is over."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from isoenergy.errors import InputError
from workflows.cluster.ray_internals import cluster_states, growth

_LOG = logging.getLogger(__name__)
PATIENCE_MINUTES = 30.0
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BEFORE_A_LINE, _SECONDS_BETWEEN_LINES = 8.0, 60.0


class Waiting:
    """Looks after placement groups that ask for bundles of some resources."""

    def __init__(self, what: str, bundle: Mapping[str, float], workers: int, patience: float) -> None:
        """Begin with nothing that waits.

        what: the stage, for people. bundle: resources of one worker. workers: how many are wanted. patience: seconds
        that something may wait without a break.
        """
        self._what, self._bundle, self._workers, self._patience = what, dict(bundle), workers, patience
        self._state_now = cluster_states()
        self._next_look = 0.0
        self._since: float | None = None
        self._next_line = 0.0

    def look(self) -> None:
        """Say what waits, and for how long; often called, it looks now and then. Raises InputError out of patience."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _SECONDS_BETWEEN_LOOKS
        waiting = self._bundles()
        if not waiting:
            self._since = None
            return
        if self._since is None:
            self._since, self._next_line = now, _SECONDS_BEFORE_A_LINE
        waited = now - self._since
        asked = f"{waiting} × {{{', '.join(f'{kind}: {amount:g}' for kind, amount in self._bundle.items())}}}"
        if waited >= self._patience:
            raise InputError(
                f"{self._what}: {asked} was not free for {self._patience / 60:g} minutes; wait until the cluster has "
                f"room, add nodes, or ask for less, and run the same command again: it goes on. --patience waits longer"
            )
        if waited >= self._next_line:
            self._next_line = waited + _SECONDS_BETWEEN_LINES
            autoscaler = "; the autoscaler was asked for it" if growth() else ""
            there = self._workers - waiting
            _LOG.info(
                "%s: waiting for %s, %.0f s; %d of %d workers%s",
                *(self._what, asked, waited, max(there, 0), self._workers, autoscaler),
            )

    def _bundles(self) -> int:
        """Return how many bundles like ours wait; none if the cluster does not answer just now."""
        try:
            state: Any = self._state_now()
        except Exception:  # Ray's own kinds; a head under load answers late, and the run goes on
            return 0
        waiting: Counter[bool] = Counter()
        for gang in state.pending_gang_resource_requests:
            waiting.update(dict(request.resources_bundle) == self._bundle for request in gang.requests)
        return waiting[True]
