"""What is told of a search, and what MLflow has of it."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from workflows.tracking import mlflow_runs
from workflows.tracking.search_tracking import SearchTracking

STORE, FINGERPRINT = "s3://user:secret@bucket/store", "0123456789abcdef" * 4
PARAMETERS = {"beta": 1e-4, "sae": {"k": 20, "expansion": 4}, "notes": "x" * 1000, "β/…": "odd"}


def client() -> MlflowClient:
    return MlflowClient(mlflow_runs.tracking_uri())


def children(parent: mlflow_runs.Run) -> dict[str, Run]:
    """Return the runs below `parent` by name; fails if two have the same."""
    found = client().search_runs([parent.experiment], f"tags.mlflow.parentRunId = '{parent.id}'")
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found)
    return named


def history(run: Run, metric: str) -> list[tuple[int, float]]:
    return sorted(
        (p.step, p.value) for p in MlflowClient(mlflow_runs.tracking_uri()).get_metric_history(run.info.run_id, metric)
    )


def models_of(run: Run) -> list[LoggedModel]:
    """Return all that the run made, also what was not finished."""
    return client().search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")


def tell(search: SearchTracking, candidate: str, steps: range = range(3), model: Path | None = None) -> None:
    """Say all that there is to say of a candidate."""
    search.begin(candidate, PARAMETERS, {"sampler": "grid"})
    for step in steps:
        search.metrics(candidate, step, {"loss": 1 / (step + 1), "system/cpu_utilization_percentage": 50.0})
    search.end(candidate, "FINISHED", {"stopped_by": "halving"}, model)
