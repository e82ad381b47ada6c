"""A search that takes seconds, and its runs in MLflow."""

from mlflow import MlflowClient
from mlflow.entities import Run

from isoenergy.training.trainer import TrainingConfig
from tune.search_config import SearchConfig
from tune.space import Dimension, SearchSpace
from workflows.tracking import mlflow_runs

SPACE = SearchSpace(
    beta=Dimension(1e-4, 1e-2),
    expansion=Dimension(values=(2.0, 4.0)),
    k=Dimension(values=(3.0, 5.0)),
    learning_rate=Dimension(values=(5e-3,)),
    batch_pairs=Dimension(values=(64.0,)),
)
SEARCH = SearchConfig(
    passes=4, betas=2, space=SPACE, training=TrainingConfig(epochs=6, log_every=5), concurrent=2, early_stopping=False
)


def child_runs(folder: str) -> list[Run]:
    """Return the runs of the trials of the search in a folder."""
    uri = mlflow_runs.tracking_uri()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.search = '{folder}'", max_results=1000)
    return [run for run in runs if "mlflow.parentRunId" in run.data.tags]
