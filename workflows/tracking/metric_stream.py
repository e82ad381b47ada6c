"""Metrics to MLflow from a thread, so that training never waits for a server."""

import time
from collections.abc import Mapping

from workflows.tracking.mlflow_runs import Run
from workflows.tracking.outbox import Message, Outbox


class MetricStream:
    """Sends metrics to a run from a thread of its own, in batches: a slow or absent server holds nothing up."""

    def __init__(self, run: Run, seconds_between: float = 5.0) -> None:
        self._run = run
        self._outbox = Outbox(run.uri, run.experiment, "the metrics of the last {} reports", seconds_between)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Queue numbers at a step."""
        moment = int(time.time() * 1000)  # noted here: what is sent again is then the same
        points = [(name, float(value), moment, step) for name, value in values.items()]
        self._outbox.put(Message(f"metrics of step {step}", frozenset([self._run.id]), self._run.points, points))

    def unsent(self) -> list[tuple[int, Mapping[str, float]]]:
        """Return what the server has not taken yet."""
        reports = [message.items for message in self._outbox.unsent()]
        return [(points[0][3], {name: value for name, value, _, _ in points}) for points in reports]

    def close(self, patience: float = 60.0) -> None:
        """Send what is left; give up after `patience` seconds, and say so."""
        self._outbox.close(patience)
