"""Metrics to MLflow from a thread, so that training never waits for a server."""

import logging
import threading
import time
from collections.abc import Mapping

from isoenergy.storage.files import without_secrets
from workflows.tracking.mlflow_runs import Run


class MetricStream:
    """Sends metrics to a run from a thread of its own, in batches: a slow or absent server holds nothing up."""

    def __init__(self, run: Run, seconds_between: float = 5.0) -> None:
        self._run, self._between = run, seconds_between
        self._waiting: list[tuple[int, Mapping[str, float]]] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Queue numbers at a step."""
        with self._lock:
            self._waiting.append((step, values))

    def unsent(self) -> list[tuple[int, Mapping[str, float]]]:
        """Return what the server has not taken yet."""
        with self._lock:
            return list(self._waiting)

    def close(self, patience: float = 60.0) -> None:
        """Send what is left; give up after `patience` seconds, and say so."""
        self._ended.set()
        self._thread.join()
        give_up = time.monotonic() + patience
        while not self._send() and time.monotonic() < give_up:
            time.sleep(1.0)
        if left := len(self.unsent()):
            logging.getLogger(__name__).warning(
                "MLflow at %s did not take the metrics of the last %d reports", without_secrets(self._run.uri), left
            )

    def _send_all(self) -> None:
        while not self._ended.wait(self._between):
            self._send()

    def _send(self) -> bool:
        batch = self.unsent()
        try:
            if batch:
                self._run.metric_history(batch)
        except Exception:  # MLflow, SQLAlchemy and requests raise many kinds; what was not taken is sent again
            return False
        with self._lock:
            del self._waiting[: len(batch)]
        return True
