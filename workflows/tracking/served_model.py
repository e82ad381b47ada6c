"""The code of a logged autoencoder: MLflow copies this file beside the weights and runs it to answer requests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from isoenergy.sae.autoencoder import SparseAutoencoder


class ServedAutoencoder(PythonModel):
    """Sparse codes of raw embeddings."""

    def load_context(self, context: Any) -> None:  # noqa: ARG002
        """Read the autoencoder that lies beside this file."""
        self._sae = SparseAutoencoder.load(Path(__file__).parent)

    def predict(
        self,
        context: Any,  # noqa: ARG002
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return each row's atoms, their coefficients, and what they leave of the row.

        model_input: `(rows, dim)` float32, raw embeddings as an encoder makes them. params: `modality`, what was
        embedded: the first one of the autoencoder's, `image`, by default.

        Raises MlflowException, which a server answers with status 400, for rows that cannot be encoded.
        """
        modality = (params or {}).get("modality", self._sae.config.modalities[0])
        if modality not in self._sae.config.modalities:
            raise _bad(f"modality must be one of {', '.join(self._sae.config.modalities)}, got {modality!r}")
        rows = np.asarray(model_input, np.float32)
        dim = self._sae.config.dim
        if rows.ndim != 2 or rows.shape[1] != dim or not len(rows):
            raise _bad(f"expected at least one row of {dim} numbers, got an array of shape {rows.shape}")
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise _bad(
                f"{len(bad)} of {len(rows)} rows hold NaN or infinity, the first is row {bad[0]}; leave them out"
            )
        with torch.inference_mode():
            codes = self._sae.encode(self._sae.prepare(torch.from_numpy(rows.copy()), modality))
        return {
            "indices": codes.indices.numpy(),
            "values": codes.values.numpy(),
            "reconstruction_error": codes.residual.square().sum(dim=1).numpy(),
        }


def _bad(what: str) -> MlflowException:
    error: MlflowException = MlflowException.invalid_parameter_value(what)
    return error


set_model(ServedAutoencoder())
