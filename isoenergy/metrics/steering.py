"""Changing one concept in an image's code: whether texts of it are found then, and what else is lost."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.metrics.retrieval import cosines, directions

RANK = 10


class Steering(NamedTuple):
    """Means over concepts and images; in [-1, 1]."""

    success: float
    """How much more often the ten nearest texts have the concept than before."""
    collateral: float
    """How much less often the image's own text is among the ten nearest."""


def steering(
    codes: Tensor,
    decode: Callable[[Tensor], Tensor],
    texts: Tensor,
    has_concept: npt.NDArray[np.bool_],
    concepts: Sequence[int],
    strengths: Sequence[float],
    queries: npt.NDArray[np.integer],
) -> Steering:
    """Add a concept to images that lack it, translate them, and look texts up.

    codes: `(n, atoms)` of images; decode: makes `(rows, dim)` rows of the texts' space from codes; texts: `(n, dim)`,
    row i the partner of image i; has_concept: `(n, concepts)`, which texts have it; concepts: its atoms, strengths:
    what their coefficients gain; queries: the images that are steered. Queries and gallery lose their own mean first,
    the queries that of all as they were: else a gap decides what is found. NaN if there is no concept, or no image
    lacks it. Source: own, after the concept steering of 2606.29888, whose protocol could not be established.
    """
    before = decode(codes[torch.from_numpy(queries)])
    mean = before.mean(0)
    gallery = directions(texts - texts.mean(0))
    known = torch.from_numpy(has_concept).double()
    own = torch.from_numpy(queries)

    def looked_up(rows: Tensor) -> Tensor:
        return cosines(directions(rows - mean), gallery).topk(min(RANK, len(gallery)), dim=1).indices

    first = looked_up(before)
    gains, losses = [], []
    for place, (atom, strength) in enumerate(zip(concepts, strengths, strict=True)):
        lacks = ~has_concept[queries, place] & (codes[own, atom] == 0).numpy()
        if not lacks.any():
            continue
        chosen = torch.from_numpy(np.flatnonzero(lacks))
        steered = codes[own[chosen]].clone()
        steered[:, atom] += strength
        then = looked_up(decode(steered))
        gains.append(float((known[then, place].mean(1) - known[first[chosen], place].mean(1)).mean()))
        partner = own[chosen, None]
        losses.append(float(((first[chosen] == partner).any(1).double() - (then == partner).any(1).double()).mean()))
    return Steering(*(float(np.mean(part)) if part else float("nan") for part in (gains, losses)))
