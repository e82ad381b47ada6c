"""Composed retrieval: an image and what is to change, to the image that is asked for (paper 4.5).

And whether such a query lies where images lie: the cosine distance to its k-th nearest neighbour among them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
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
from isoenergy.statistics.bootstrap import Floats

NEIGHBOUR = 5
"""Which neighbour: the paper's code takes the 5th."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Triplets:
    """What is asked for, by the numbers of images and texts; a row a triplet."""

    source: Integers
    """`(n,)` the image that is to be changed; it is not in its own gallery."""
    target: Integers
    """`(n,)` the image that is asked for."""
    added: Integers
    """`(n, a)` texts that say what is to be there; -1 where there are fewer."""
    removed: Integers
    """`(n, r)` texts that say what is to go; -1 where there are fewer."""
    gallery: Integers
    """`(images,)`: targets are looked for among the images with the target's number."""

    def deltas(self, texts: Tensor) -> Tensor:
        """Return `(n, dim)`: the mean of what is added minus the mean of what is removed; texts: `(texts, dim)`."""
        return _means(texts, self.added) - _means(texts, self.removed)


@dataclass(frozen=True)
class Composed:
    """What queries find, and how far they lie from images; `(n,)` each."""

    nearer: Tensor
    """Images of the gallery that are nearer than the target."""
    as_near: Tensor
    """Images as near as the target, which is one of them."""
    possible: Tensor
    """1, or 0 where the query or the target is zero: then it is a miss."""
    distance: npt.NDArray[np.float64]
    """Cosine distance to the k-th nearest image of the gallery, the source left out."""

    def hits(self, rank: int) -> npt.NDArray[np.float64]:
        """Return each query's chance that the target is among the `rank` nearest."""
        return chance_of_hit(self.nearer, self.as_near, rank, self.possible).numpy()


def composed_retrieval(queries: Tensor, images: Tensor, triplets: Triplets, k: int = NEIGHBOUR) -> Composed:
    """Look for each triplet's target among all images of its gallery but the source.

    queries: `(n, dim)`; images: `(images, dim)`. Exact; memory does not grow with queries · images.
    """
    queries, images = directions(queries), directions(images)
    count = len(queries)
    nearer, as_near, possible = (torch.zeros(count, dtype=torch.long) for _ in range(3))
    distance = np.full(count, np.nan)
    for rows, members, place in _by_gallery(triplets.gallery, triplets.target):
        chosen = images[members]
        source, target = (place[torch.from_numpy(numbers[rows])] for numbers in (triplets.source, triplets.target))
        for some in torch.arange(len(rows)).split(max(1, BLOCK_ENTRIES // len(members))):
            here = torch.from_numpy(rows)[some]
            similarity = _without(cosines(queries[here], chosen), source[some])
            right = similarity.gather(1, target[some].unsqueeze(1))
            nearer[here], as_near[here] = nearer_and_as_near(similarity, right, TIE)
            possible[here] = there(right)
            distance[here.numpy()] = _distances(similarity, k)
    return Composed(nearer, as_near, possible, distance)


def image_distances(images: Tensor, chosen: Integers, gallery: Integers, k: int = NEIGHBOUR) -> npt.NDArray[np.float64]:
    """Return, for the images of these numbers, the cosine distance to the k-th nearest other image of the gallery.

    images: `(images, dim)`; chosen: `(n,)`; gallery: `(images,)`, see `Triplets`. NaN with fewer than k others.
    """
    images = directions(images)
    found = np.full(len(chosen), np.nan)
    for rows, members, place in _by_gallery(gallery, chosen):
        for some in np.array_split(rows, max(1, len(rows) * len(members) // BLOCK_ENTRIES)):
            own = torch.from_numpy(chosen[some])
            found[some] = _distances(_without(cosines(images[own], images[members]), place[own]), k)
    return found


def told_apart(real: npt.NDArray[np.float64], queries: npt.NDArray[np.float64], weights: Floats) -> Floats:
    """Return `(1 + replicates,)` J = sensitivity + specificity − 1 of the best threshold between two sets of distances.

    (1 + J) / 2 is the accuracy at telling queries from real images, as many of each (Youden 1950; paper 4.5). It may
    be that queries lie farther off than images, or nearer: J is the Kolmogorov–Smirnov distance of the two.
    real, queries: `(n,)`; weights: `(n, 1 + replicates)` of both. NaN distances are left out.
    """
    distances = np.concatenate([real, queries])
    order = np.argsort(distances, kind="stable")
    order = order[~np.isnan(distances[order])]
    if not len(order):
        return np.full(weights.shape[1], np.nan)
    last = np.append(np.diff(distances[order]) > 0, True)  # a threshold does not part equal ones
    shares = []
    for side in (order < len(real), order >= len(real)):
        mass = np.where(side[:, None], weights[order % len(real)], 0.0).cumsum(0)
        shares.append(np.divide(mass, mass[-1], out=np.full_like(mass, np.nan), where=mass[-1] > 0)[last])
    distance: Floats = np.abs(shares[0] - shares[1]).max(0)
    return distance


def _means(texts: Tensor, numbers: Integers) -> Tensor:
    there = torch.from_numpy(numbers >= 0).to(texts.dtype).unsqueeze(2)
    return (texts[torch.from_numpy(numbers.clip(0))] * there).sum(1) / there.sum(1).clamp(min=1)


def _by_gallery(gallery: Integers, asked: Integers) -> list[tuple[Integers, Tensor, Tensor]]:
    """For each gallery: the rows of `asked`, images, that lie in it; its images; and every image's place among them."""
    parts = []
    for number in np.unique(gallery[asked]):
        members = np.flatnonzero(gallery == number)
        place = np.full(len(gallery), -1)
        place[members] = np.arange(len(members))
        parts.append((np.flatnonzero(gallery[asked] == number), torch.from_numpy(members), torch.from_numpy(place)))
    return parts


def _without(similarity: Tensor, places: Tensor) -> Tensor:
    """Take an image out of each row's gallery; -1: it is not in it."""
    inside = torch.nonzero(places >= 0).squeeze(1)
    similarity[inside, places[inside]] = -torch.inf
    return similarity


def _distances(similarity: Tensor, k: int) -> npt.NDArray[np.float64]:
    if similarity.shape[1] < k:
        return np.full(len(similarity), np.nan)
    nearest = similarity.topk(k, dim=1).values[:, -1]
    return torch.where(nearest > -torch.inf, 1 - nearest, torch.nan).double().numpy()
