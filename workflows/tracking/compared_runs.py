"""Runs in MLflow, found by what people call them, with what a comparison of them shows."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.tracking.run_names import SEPARATOR
from workflows.tracking.tracking_client import EXPERIMENT, cannot_be_used, client, tracking_uri

_CHILDREN = "/*"
_MOST_RUNS = 1000
_SHOWN = 5


@dataclass(frozen=True)
class ComparedRun:
    """A run as it stands."""

    id: str
    name: str
    """As MLflow has it; with part of the id where two runs have the same."""
    status: str
    """MLflow's, and after what part of its training a search stopped it."""
    parameters: dict[str, str]
    metrics: dict[str, float]
    """The last value of each."""
    datasets: str
    """Name and digest of each store that the run read."""


def find_runs(wanted: Sequence[str]) -> list[ComparedRun]:
    """Return runs by id, by name, or by a name's first part; NAME/* is all runs below the run NAME, the oldest first.

    Raises InputError for what is not there, naming what is near, for a name that several runs have, or if MLflow cannot
    be used.
    """
    uri = tracking_uri()
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).exists():
        raise InputError(f"there are no runs at {uri}; set MLFLOW_TRACKING_URI to the server or file that has them")
    try:
        found = {run.info.run_id: _compared(run) for name in wanted for run in _named(uri, name)}
    except Exception as error:  # MLflow and SQLAlchemy raise many kinds for a server or file that cannot be used
        if isinstance(error, InputError):
            raise
        raise cannot_be_used(uri, error) from error
    names = Counter(run.name for run in found.values())
    return [replace(run, name=f"{run.name} {run.id[:8]}") if names[run.name] > 1 else run for run in found.values()]


def history(run: ComparedRun, metric: str) -> list[tuple[int, float]]:
    """Return a metric's `(step, value)` in the order of steps."""
    points = client(tracking_uri()).get_metric_history(run.id, metric)
    return [(step, _as_logged(value)) for step, _, value in sorted((p.step, p.timestamp, p.value) for p in points)]


def _named(uri: str, name: str) -> list[Any]:
    if name.endswith(_CHILDREN):
        (parent,) = _named(uri, name.removesuffix(_CHILDREN))
        children = _search(uri, f"tags.mlflow.parentRunId = '{parent.info.run_id}'", [parent.info.experiment_id], "ASC")
        if not children:
            raise InputError(f"{name} names no run: there are none below {name.removesuffix(_CHILDREN)!r}")
        return children
    if re.fullmatch("[0-9a-f]{32}", name) and (run := _by_id(uri, name)):
        return [run]
    runs = _called(uri, "=", name) or [
        run for run in _called(uri, "LIKE", f"{name}{SEPARATOR}%") if run.info.run_name.startswith(name + SEPARATOR)
    ]
    if not runs:
        raise InputError(f"{without_secrets(uri)} has no run {name!r}; {_nearest(uri, name)}")
    if len(runs) > 1:
        raise InputError(
            f"{len(runs)} runs are called {name!r}; give the id of the one that is meant: "
            f"{', '.join(map(_told_apart, runs[:_SHOWN]))}{', …' * (len(runs) > _SHOWN)}"
        )
    return runs


def _called(uri: str, how: str, name: str) -> list[Any]:
    quote = '"' if "'" in name else "'"
    return _search(uri, f"attributes.run_name {how} {quote}{name}{quote}") if quote not in name else []


def _by_id(uri: str, id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client(uri).get_run(id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _search(uri: str, which: str, experiments: Sequence[str] | None = None, order: str = "DESC") -> list[Any]:
    if experiments is None:
        there = client(uri).get_experiment_by_name(EXPERIMENT)
        experiments = [there.experiment_id] if there else []
    order_by = [f"attributes.start_time {order}"]
    return list(client(uri).search_runs(experiments, which, max_results=_MOST_RUNS, order_by=order_by))


def _nearest(uri: str, name: str) -> str:
    there = _search(uri, "")
    names = list(dict.fromkeys([run.info.run_name for run in there] + [run.info.run_id for run in there]))
    if not names:
        return f"its experiment {EXPERIMENT!r} has no runs yet"
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"the nearest are {', '.join(near)}" if near else f"the latest are {', '.join(names[:_SHOWN])}"


def _told_apart(run: Any) -> str:
    start = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return f"{run.info.run_id} ({run.info.status}, {start:%Y-%m-%d %H:%M} UTC)"


def _compared(run: Any) -> ComparedRun:
    return ComparedRun(
        id=run.info.run_id,
        name=run.info.run_name or run.info.run_id[:8],
        status=_status(run),
        parameters=dict(run.data.params),
        metrics={name: _as_logged(value) for name, value in run.data.metrics.items()},
        datasets=", ".join(_datasets(run)),
    )


def _status(run: Any) -> str:
    stopped = run.data.tags.get("stopped_after")
    return f"{run.info.status} after {stopped}" if stopped else str(run.info.status)


def _datasets(run: Any) -> Iterator[str]:
    used = [used.dataset for used in (run.inputs.dataset_inputs if run.inputs else [])]
    for dataset in used:
        yield f"{dataset.name}@{dataset.digest[:8]}"
    if not used and (fingerprint := run.data.tags.get("store_fingerprint")):  # of before there were datasets
        yield fingerprint[:8]


def _as_logged(value: float) -> float:
    """MLflow's databases keep infinity as the largest number that there is."""
    return value * 2 if abs(value) == sys.float_info.max else value
