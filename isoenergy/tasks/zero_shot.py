"""Zero-shot classification: an image belongs to the class whose prompts are nearest (paper 4.4)."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from isoenergy.metrics.retrieval import (
    BLOCK_ENTRIES,
    TIE,
    chance_of_hit,
    cosines,
    directions,
    nearer_and_as_near,
    there,
)
from isoenergy.statistics.bootstrap import Floats, Interval
from isoenergy.statistics.weighted_sums import weighted_mean

Labels = npt.NDArray[np.integer]


def zero_shot(
    images: Tensor, classes: Tensor, labels: Labels, weights: Floats, ranks: Sequence[int] = (1, 5)
) -> dict[str, Interval]:
    """Return `top1` and so on for `ranks` below the number of classes, and `balanced`, the mean over classes of top 1.

    images: `(n, dim)`; classes: `(classes, dim)`; labels: `(n,)` from 0; weights: `(n, 1 + replicates)`. Classes
    exactly as near as the right one are ordered at random, in expectation; an image of zeros is a miss.
    """
    hits = class_hits(images, classes, labels, [rank for rank in ranks if rank == 1 or rank < len(classes)])
    measured = {f"top{rank}": Interval.of_share(weighted_mean(each, weights)) for rank, each in hits.items()}
    return {**measured, "balanced": Interval.of_share(by_class(hits[1], labels, weights))}


def class_hits(
    images: Tensor, classes: Tensor, labels: Labels, ranks: Sequence[int]
) -> Mapping[int, npt.NDArray[np.float64]]:
    """Return, for each r in `ranks`, `(n,)` chances that an image's class is among the r nearest."""
    images, classes = directions(images), directions(classes)
    own = torch.from_numpy(np.asarray(labels, np.int64)).unsqueeze(1)
    found: dict[int, list[Tensor]] = {rank: [torch.zeros(0).double()] for rank in ranks}
    for rows in torch.arange(len(images)).split(max(1, BLOCK_ENTRIES // len(classes))):
        similarity = cosines(images[rows], classes)
        right = similarity.gather(1, own[rows])
        places = nearer_and_as_near(similarity, right, TIE)
        for rank in ranks:
            found[rank].append(chance_of_hit(*places, rank, there(right)))
    return {rank: torch.cat(parts).numpy() for rank, parts in found.items()}


def by_class(values: npt.NDArray[np.float64], labels: Labels, weights: Floats) -> Floats:
    """Return `(1 + replicates,)` means over classes of the classes' weighted means; a class without weight is left out.

    values: `(n,)`; labels: `(n,)`; weights: `(n, 1 + replicates)`.
    """
    classes, place = np.unique(labels, return_inverse=True)
    shape = len(classes), len(labels)
    total, hit = (
        sparse.csr_array((of_rows, (place, np.arange(len(labels)))), shape) @ weights
        for of_rows in (np.ones(len(labels)), values)
    )
    known = total > 0
    count = known.sum(0)
    shares = np.divide(hit, total, out=np.zeros_like(hit), where=known)
    mean: Floats = np.divide(shares.sum(0), count, out=np.full(len(count), np.nan), where=count > 0)
    return mean
