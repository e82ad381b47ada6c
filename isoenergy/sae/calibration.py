"""The threshold of a BatchTopK that came without one."""

import numpy as np
import torch
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sparse_encoders import BatchTopK

_BATCH_ROWS = 1024


def lacks_threshold(sae: SparseAutoencoder) -> bool:
    """Return whether it is a BatchTopK that cannot encode before it is calibrated."""
    return isinstance(sae.config.sparse_encoder, BatchTopK) and bool(sae.state_dict()["encoder.threshold"] < 0)


@torch.no_grad()
def calibrate(sae: SparseAutoencoder, rows: Tensor | np.ndarray) -> float:
    """Set the threshold such that k atoms fire a row, on average over `(rows, dim)` prepared rows; return it.

    Raises InputError for another encoder, and for no rows; ValueError for rows of another width.
    """
    if not isinstance(sae.config.sparse_encoder, BatchTopK) or not len(rows):
        raise InputError(
            f"only a batch-top-k is calibrated, on rows; got {sae.config.sparse_encoder}, {len(rows)} rows"
        )
    largest = torch.empty(0)
    wanted = sae.config.k * len(rows)
    for batch in sae._as_rows(rows, "rows").split(_BATCH_ROWS):
        scores = (batch @ sae.state_dict()["encoder.weight"].T + sae.state_dict()["encoder.bias"]).relu().flatten()
        largest = torch.cat([largest, scores[scores > 0]])
        if len(largest) > wanted:
            largest = largest.topk(wanted).values
    threshold = float(largest.min()) if len(largest) else 0.0
    sae.state_dict()["encoder.threshold"].fill_(threshold)
    return threshold
