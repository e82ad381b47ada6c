"""A hyperparameter search in MLflow: a child run a candidate, from one thread, so that nothing waits for a server."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.tracking.candidate_runs import CandidateRuns, Point
from workflows.tracking.mlflow_runs import Run
from workflows.tracking.tracking_client import client, text_without_secrets

Status = Literal["FINISHED", "FAILED", "KILLED"]

_SECONDS_BETWEEN = 1.0
_LONGEST_WAIT = 15.0
_BATCH = 1000
_MOST_AT_ONCE = 5000
_REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's answers that would be the same another time."""
_REGISTRY = "the registry"
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(eq=False)
class _Operation:
    """What is to be sent. Those that share a lane are sent in the order in which they came."""

    what: str
    lanes: frozenset[str]
    send: Callable[[], None] | None = None
    points: list[Point] = field(default_factory=list)
    """Metrics, which are sent together with those that follow on the same lane."""


class SearchTracking:
    """Mirrors a search to MLflow: every call only queues, and a thread sends.

    What the server does not take for now is tried again until `close`; what it refuses for good is left out, with a
    warning. The same calls once more, by a driver that took over from one that died, lead to the same runs: none twice,
    no point twice.
    """

    def __init__(self, parent: Run, search: str, store_uri: str, store_fingerprint: str) -> None:
        """Start the thread.

        parent: the run of the search. search: what names this search and no other, such as its output folder: with a
        candidate's name it finds the candidate's run again. store_uri, store_fingerprint: the store that all read.
        """
        self._runs = CandidateRuns(parent, search, store_uri, store_fingerprint)
        self._parent = parent
        self._waiting: list[_Operation] = []
        self._refused = 0
        self._lock = threading.Lock()
        self._ended, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._send_all, name=f"MLflow {search}", daemon=True)
        self._thread.start()

    def begin(self, candidate: str, parameters: Mapping[str, object], tags: Mapping[str, str] = _NO_TAGS) -> None:
        """Open a candidate's run below the search's, or the one that it had before; it is RUNNING then.

        parameters: may be nested. Those that the run has already keep their values.
        """
        self._add("the start", candidate, partial(self._runs.begin, candidate, dict(parameters), dict(tags)))

    def metrics(self, candidate: str, step: int, values: Mapping[str, float]) -> None:
        """Log a candidate's numbers at a step, unless its run has a number of that name at that step.

        MLflow shows those whose names begin with `system/` apart, as system metrics.
        """
        moment = int(time.time() * 1000)
        points = [(name, float(value), moment, step) for name, value in values.items()]
        self._queue(_Operation("metrics", frozenset([candidate]), points=points))

    def end(
        self,
        candidate: str,
        status: Status,
        tags: Mapping[str, str] = _NO_TAGS,
        model: Path | str | None = None,
    ) -> None:
        """Give a candidate's run its final status.

        model: folder or URL of its autoencoder, as `SparseAutoencoder.save` leaves it, which is logged as a model; it
        must stay there until it is sent.
        """
        self._add("the end", candidate, partial(self._runs.end, candidate, status, dict(tags)))
        if model is not None:
            self._add("the model", candidate, partial(self._runs.model, candidate, str(model)))

    def register_best(self, candidate: str, name: str, alias: str) -> None:
        """Register a candidate's model as a new version of the model `name`, and give that version the alias.

        A model that has a version keeps it. Of several calls the last decides who has the alias.
        """
        self._add("the registration", candidate, partial(self._runs.register, candidate, name, alias), _REGISTRY)

    def unsent(self) -> int:
        """Return how many calls the server has not taken yet."""
        with self._lock:
            return len(self._waiting)

    def close(self, patience: float = 60.0) -> int:
        """Send what is left, for at most `patience` seconds, and return how many calls could not be sent.

        What was refused for good counts too.
        """
        self._ended.set()
        self._thread.join(patience)
        self._given_up.set()
        with self._lock:
            left = len(self._waiting) + self._refused
        if left:
            logging.getLogger(__name__).warning(
                "MLflow at %s did not take %d of the search's reports", without_secrets(self._parent.uri), left
            )
        return left

    def _add(self, what: str, candidate: str, send: Callable[[], None], *lanes: str) -> None:
        self._queue(_Operation(what, frozenset([candidate, *lanes]), send))

    def _queue(self, operation: _Operation) -> None:
        with self._lock:
            self._waiting.append(operation)

    def _send_all(self) -> None:
        wait = _SECONDS_BETWEEN
        while not self._ended.wait(wait):
            wait = _SECONDS_BETWEEN if self._send_waiting() else min(2 * wait, _LONGEST_WAIT)
        while not self._send_waiting() or self.unsent():
            if self._given_up.wait(_SECONDS_BETWEEN):
                return

    def _send_waiting(self) -> bool:
        """Try each operation once, past those that wait for one that failed; return whether the server took all."""
        with self._lock:
            waiting = self._waiting[:_MOST_AT_ONCE]
        blocked: set[str] = set()
        done: set[_Operation] = set()
        for place, operation in enumerate(waiting):
            if operation in done or self._given_up.is_set():
                continue
            if operation.lanes & blocked:
                blocked |= operation.lanes
                continue
            together = [operation] if operation.send else _metrics_from(waiting[place:], done)
            try:
                self._send(together)
            except Exception as error:  # MLflow, SQLAlchemy, requests and botocore raise many kinds
                if not _is_refusal(error):
                    if not self._answers():
                        return False
                    blocked |= operation.lanes
                    continue
                self._say_refused(operation, error)
                self._refused += len(together)
            done.update(together)
            left = [other for other in waiting if other not in done]
            with self._lock:
                self._waiting[: len(waiting) - len(done) + len(together)] = left
        return not blocked

    def _send(self, operations: list[_Operation]) -> None:
        first = operations[0]
        if first.send:
            first.send()
        else:
            (candidate,) = first.lanes
            self._runs.metrics(candidate, [point for operation in operations for point in operation.points])

    def _answers(self) -> bool:
        try:
            client(self._parent.uri).get_experiment(self._parent.experiment)
        except Exception:  # as above
            return False
        return True

    def _say_refused(self, operation: _Operation, error: Exception) -> None:
        candidate = ", ".join(sorted(operation.lanes - {_REGISTRY}))
        reason = text_without_secrets(" ".join(str(error).split()))[:300]
        logging.getLogger(__name__).warning(
            "MLflow at %s refused %s of %s: %s", without_secrets(self._parent.uri), operation.what, candidate, reason
        )


def _metrics_from(waiting: list[_Operation], done: set[_Operation]) -> list[_Operation]:
    """Return the first operation, metrics, and those of the same candidate that may be sent with it."""
    together: list[_Operation] = []
    points = 0
    for operation in waiting:
        if operation in done or not operation.lanes & waiting[0].lanes:
            continue
        points += len(operation.points)
        if operation.send or (together and points > _BATCH):
            break
        together.append(operation)
    return together


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, InputError):
        return True
    if code := getattr(error, "error_code", None):
        return code in _REFUSALS
    return isinstance(error, TypeError | ValueError | LookupError | AttributeError) and not isinstance(error, OSError)
