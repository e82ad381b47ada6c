"""A saved autoencoder as a logged MLflow model: weights, configuration and code as plain files, nothing pickled."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import CONFIG_FILE, WEIGHTS_FILE
from workflows.tracking.mlflow_runs import Run
from workflows.tracking.tracking_client import client, flat_parameters

if TYPE_CHECKING:  # takes seconds to import
    from mlflow.entities import LoggedModel

MODEL_NAME = "sae"
_CODE = Path(__file__).with_name("served_model.py")
_NEEDED = ("isoenergy", "mlflow", "numpy", "safetensors", "torch")
_FILES = {
    "MLmodel",
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "input_example.json",
    "serving_input_example.json",
    _CODE.name,
    CONFIG_FILE,
    WEIGHTS_FILE,
}


def save_model(sae: SparseAutoencoder, folder: Path, model_id: str | None = None, run_id: str | None = None) -> None:
    """Write an autoencoder to a new folder from which `mlflow.pyfunc` and `SparseAutoencoder.load` load it.

    model_id, run_id: those of MLflow that the model's description names.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    rows = np.random.default_rng(0).standard_normal((2, sae.config.dim)).astype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, sae.config.dim))]),
        outputs=Schema(
            [
                TensorSpec(np.dtype(np.int64), (-1, -1), "indices"),
                TensorSpec(np.dtype(np.float32), (-1, -1), "values"),
                TensorSpec(np.dtype(np.float32), (-1,), "reconstruction_error"),
            ]
        ),
        params=ParamSchema([ParamSpec("modality", "string", sae.config.modalities[0])]),
    )
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(_CODE),
        signature=signature,
        input_example=(rows, {"modality": sae.config.modalities[0]}),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _NEEDED],
        metadata={"digest": sae.digest},
        mlflow_model=Model(artifact_path=MODEL_NAME, run_id=run_id, model_id=model_id),
    )
    sae.save(folder)
    for file in folder.iterdir():
        if file.name not in _FILES:  # MLflow adds the uv project of whatever directory the process is in
            file.unlink()


def log_model(run: Run, uri: str) -> "LoggedModel":
    """Log the autoencoder at `uri`, a folder or URL, as a model that `run` made, unless it is logged already."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    sae = SparseAutoencoder.load(uri)
    mlflow = client(run.uri)
    there = [model for model in logged_models(run) if model.tags.get("digest") == sae.digest]
    if not there:
        model = mlflow.create_logged_model(
            run.experiment,
            name=MODEL_NAME,
            source_run_id=run.id,
            tags={"digest": sae.digest, "sae": uri.rstrip("/").rsplit("/", 1)[-1]},
            params=flat_parameters(asdict(sae.config)),
            model_type="sparse autoencoder",
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / MODEL_NAME
            save_model(sae, folder, model.model_id, run.id)
            mlflow.log_model_artifacts(model.model_id, str(folder))
        there = [mlflow.finalize_logged_model(model.model_id, LoggedModelStatus.READY)]
    outputs = mlflow.get_run(run.id).outputs
    if there[0].model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
        mlflow.log_outputs(run.id, [LoggedModelOutput(there[0].model_id, step=0)])
    for model in _models(run):
        if model.status != LoggedModelStatus.READY:  # an upload that was cut short
            delete_if_there(mlflow.delete_logged_model, model.model_id)
    return there[0]


def logged_models(run: Run) -> "list[LoggedModel]":
    """Return the models that `run` made and that are whole, the latest last."""
    from mlflow.entities import LoggedModelStatus

    whole = [model for model in _models(run) if model.status == LoggedModelStatus.READY]
    return sorted(whole, key=lambda model: model.creation_timestamp)


def delete_if_there(delete: Callable[..., object], *what: str) -> None:
    """Call one of the client's deletions, which may have been done already by a request whose answer was lost."""
    try:
        delete(*what)
    except Exception as error:
        if getattr(error, "error_code", None) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"):
            raise


def _models(run: Run) -> Any:
    return client(run.uri).search_logged_models([run.experiment], f"source_run_id = '{run.id}'")
