"""From one modality's codes to the other's rows."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Given = npt.NDArray[np.floating]


def translation_r2(rows: Given, translated: Given) -> float:
    """Return 1 - Σ‖x - x̂‖² / Σ‖x - mean‖², of `(n, dim)` rows of one modality; at most 1, 0 if only the mean is met.

    translated: `(n, dim)`, what the partners' codes rebuild in this modality: D z of the other one (2606.09653, whose
    exact normalisation could not be established).
    """
    x = np.asarray(rows, np.float64)
    variance = np.square(x - x.mean(0)).sum()
    return float(1 - np.square(x - translated).sum() / variance) if variance > 0 else float("nan")


def linear_translation(codes: Given, rows: Given, ridge: float = 1e-2) -> tuple[Floats, Floats]:
    """Return the map `(atoms, dim)` and offset `(dim,)` from one modality's codes to the other's rows, by ridge.

    codes: `(n, atoms)`; rows: `(n, dim)` of the partners. ridge: in multiples of the codes' mean squared norm less
    their mean, times n. How it fares on other pairs, fitted on few, says how many pairs the codes still need.
    """
    z, x = np.asarray(codes, np.float64), np.asarray(rows, np.float64)
    z_mean, x_mean = z.mean(0), x.mean(0)
    z, x = z - z_mean, x - x_mean
    weight = max(ridge * float(np.square(z).sum()), 1e-12)
    if len(z) < z.shape[1]:
        found = z.T @ np.linalg.solve(z @ z.T + weight * np.eye(len(z)), x)
    else:
        found = np.linalg.solve(z.T @ z + weight * np.eye(z.shape[1]), z.T @ x)
    return found, x_mean - z_mean @ found
