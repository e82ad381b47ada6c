"""What needs no dictionary: the embeddings as they are, centred, canonical correlations, components of pairs."""

import torch
from torch import Tensor

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pairs import Rows

_RIDGE = 1e-3


def fit_raw(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Return the unit rows themselves: every coordinate is an atom."""
    del budget, strength, seed
    return FittedMethod.of_shared(lambda x: x, torch.eye(rows.image.shape[1]))


def fit_centred(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Return the rows less their modality's mean, which is the offset."""
    del budget, strength, seed
    means = {name: rows.of(name).mean(0) for name in ("image", "text")}
    basis = torch.eye(rows.image.shape[1])
    return FittedMethod(
        encoders={"image": lambda x: x - means["image"], "text": lambda x: x - means["text"]},
        dictionaries=dict.fromkeys(means, basis),
        offsets=means,
    )


def fit_canonical(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Return the k largest canonical correlations, whitened with a ridge of a thousandth of the mean variance."""
    del strength, seed
    means = {name: rows.of(name).mean(0).double() for name in ("image", "text")}
    centred = {name: rows.of(name).double() - means[name] for name in means}
    whiten = {name: _inverse_root(x.T @ x / len(x)) for name, x in centred.items()}
    cross = whiten["image"] @ (centred["image"].T @ centred["text"] / len(rows)) @ whiten["text"]
    left, _, right = torch.linalg.svd(cross)
    maps = {"image": whiten["image"] @ left[:, : budget.k], "text": whiten["text"] @ right[: budget.k].T}
    return _of_maps(centred, means, maps)


def fit_components(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Return the k first principal components of centred pairs, image and text side by side; a row alone is projected.

    A lone row's code is its least-squares fit by its half of the components.
    """
    del strength, seed
    means = {name: rows.of(name).mean(0).double() for name in ("image", "text")}
    centred = {name: rows.of(name).double() - means[name] for name in means}
    both = torch.cat([centred["image"], centred["text"]], dim=1)
    components = torch.linalg.eigh(both.T @ both).eigenvectors[:, -budget.k :].flip(1)
    width = rows.image.shape[1]
    halves = {"image": components[:width], "text": components[width:]}
    maps = {name: torch.linalg.pinv(half).T for name, half in halves.items()}
    return _of_maps(centred, means, maps)


def _of_maps(centred: dict[str, Tensor], means: dict[str, Tensor], maps: dict[str, Tensor]) -> FittedMethod:
    """Codes are centred rows times a `(dim, k)` map; atoms are what rebuilds the rows best from them."""
    codes = {name: x @ maps[name] for name, x in centred.items()}
    return FittedMethod(
        encoders={
            "image": lambda x: ((x.double() - means["image"]) @ maps["image"]).float(),
            "text": lambda x: ((x.double() - means["text"]) @ maps["text"]).float(),
        },
        dictionaries={name: torch.linalg.lstsq(codes[name], x).solution.float() for name, x in centred.items()},
        offsets={name: mean.float() for name, mean in means.items()},
    )


def _inverse_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors / (values.clamp_min(0) + _RIDGE * values.mean()).sqrt()) @ vectors.T
    return root
