"""A hyperparameter search in MLflow: a child run a candidate, from one thread, so that nothing waits for a server."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from workflows.tracking.candidate_runs import CandidateRuns
from workflows.tracking.mlflow_runs import Run
from workflows.tracking.outbox import Message, Outbox

Status = Literal["FINISHED", "FAILED", "KILLED"]

_REGISTRY = "the registry"
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class SearchTracking:
    """Mirrors a search to MLflow: every call only queues, and a thread sends.

    What the server does not take for now is tried again until `close`; what it refuses for good is left out, with a
    warning. The same calls once more, by a driver that took over from one that died, lead to the same runs: none twice,
    no point twice.
    """

    def __init__(
        self, parent: Run, search: str, store_uri: str, store_fingerprint: str, store_source: str = ""
    ) -> None:
        """Start the thread.

        parent: the run of the search. search: what names this search and no other, such as its output folder: with a
        candidate's name it finds the candidate's run again. store_uri, store_fingerprint: the store that all read;
        store_source: what it was made of.
        """
        self._runs = CandidateRuns(parent, search, store_uri, store_fingerprint, store_source)
        self._outbox = Outbox(parent.uri, parent.experiment, "{} of the search's reports")

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
        send = partial(self._runs.metrics, candidate)
        self._outbox.put(Message(f"metrics of {candidate}", frozenset([candidate]), send, points))

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
        return len(self._outbox.unsent())

    def close(self, patience: float = 60.0) -> int:
        """Send what is left, for some `patience` seconds, and return how many calls could not be sent.

        What was refused for good counts too.
        """
        return self._outbox.close(patience)

    def _add(self, what: str, candidate: str, send: Callable[[], None], *lanes: str) -> None:
        self._outbox.put(Message(f"{what} of {candidate}", frozenset([candidate, *lanes]), send))
