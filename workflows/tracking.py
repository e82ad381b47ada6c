"""MLflow: one run a pipeline, a child run a stage, each with its true final status."""

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from isoenergy.errors import InputError
from isoenergy.files import without_secrets

EXPERIMENT = "isoenergy"
_FOLDER = Path("runs")
_BATCH = 1000
_LONGEST_PARAMETER = 500
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite file `runs/mlflow.db` below the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_FOLDER.absolute() / 'mlflow.db'}"


@dataclass(frozen=True)
class Run:
    """A reference to an MLflow run; it may be sent to a Ray worker."""

    uri: str
    experiment: str
    id: str

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step."""
        self.metric_history([(step, values)])

    def metric_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log numbers at many steps, in batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(_allowed(name), float(value), now, step)
            for step, values in history
            for name, value in values.items()
        ]
        for start in range(0, len(points), _BATCH):
            _client(self.uri).log_batch(self.id, metrics=points[start : start + _BATCH])

    def last_step(self, metric: str) -> int:
        """Return the last step at which a metric was logged; -1 if it never was, or the server does not answer."""
        try:
            history = _client(self.uri).get_metric_history(self.id, _allowed(metric))
        except Exception:  # as in `_begin`
            return -1
        return max((point.step for point in history), default=-1)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        for name, value in values.items():
            _client(self.uri).set_tag(self.id, _allowed(name), value)

    def artifact(self, file: Path, folder: str | None = None) -> None:
        """Upload a file."""
        _client(self.uri).log_artifact(self.id, str(file), folder)


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


@contextmanager
def stage(name: str, config: Any, output: str, parent: Run | None = None) -> Iterator[Run]:
    """Open the run of a stage, below `parent` if given, and end it FINISHED, FAILED or KILLED as the body ends.

    config: a dataclass, logged as parameters. A run of the same stage, config and output that did not finish is
    continued rather than started again.
    """
    run = _begin(name, config, output, parent)
    try:
        yield run
    except Exception:
        _client(run.uri).set_terminated(run.id, "FAILED")
        raise
    except BaseException:
        _client(run.uri).set_terminated(run.id, "KILLED")
        raise
    _client(run.uri).set_terminated(run.id, "FINISHED")


def _begin(name: str, config: Any, output: str, parent: Run | None) -> Run:
    uri = parent.uri if parent else tracking_uri()
    parameters = dict(_flat(asdict(config) if is_dataclass(config) and not isinstance(config, type) else config))
    identity = hashlib.sha256(json.dumps([name, output, parameters], sort_keys=True).encode()).hexdigest()
    try:
        client = _client(uri)
        experiment = parent.experiment if parent else _experiment(uri)
        unfinished = client.search_runs(
            [experiment], f"tags.isoenergy_identity = '{identity}' and attributes.status != 'FINISHED'", max_results=1
        )
        tags = {"isoenergy_identity": identity, "isoenergy_output": without_secrets(output), "mlflow.runName": name}
        if parent:
            tags["mlflow.parentRunId"] = parent.id
        if unfinished:
            run = Run(uri, experiment, unfinished[0].info.run_id)
            client.update_run(run.id, status="RUNNING")
            run.tags(tags)
        else:
            run = Run(uri, experiment, client.create_run(experiment, tags=tags).info.run_id)
            _log_parameters(run, parameters)
    except Exception as error:  # MLflow and SQLAlchemy raise many kinds for a server or file that cannot be used
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"MLflow at {without_secrets(uri)} cannot be used ({type(error).__name__}: {str(error)[:300]}); "
            f"set MLFLOW_TRACKING_URI to a server or a sqlite:////absolute/file.db that can"
        ) from error
    return run


def _allowed(name: str) -> str:
    """Return a metric's or tag's name as MLflow takes it: β = 1e+06, or an SAE's folder, may have other letters."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _log_parameters(run: Run, parameters: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    _client(run.uri).log_batch(run.id, params=[Param(name, value) for name, value in parameters.items()])


def _experiment(uri: str) -> str:
    client = _client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return str(experiment.experiment_id)
    # MLflow's default for sqlite is a folder below whatever directory the process happens to be in.
    artifacts = (_FOLDER.absolute() / "mlflow-artifacts").as_uri() if uri.startswith("sqlite") else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts))


def _client(uri: str) -> Any:
    """Return a client; mlflow takes seconds to import, and `--help` needs none of it."""
    from mlflow import MlflowClient

    for chatty, level in (("alembic", logging.WARNING), ("mlflow", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(chatty).setLevel(level)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(uri)


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}{name}.")
    else:
        yield prefix.removesuffix("."), without_secrets(str(value))[:_LONGEST_PARAMETER]
