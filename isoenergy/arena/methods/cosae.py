"""CoSAE, as far as it can be defined: coupled autoencoders (Dhimoïla et al. 2026, arXiv 2606.09653).

Established from the abstract: four properties, translation and concept consistency, each of a pair and of
distributions, which CoSAE enforces together. Not established, as neither text nor code could be read: the distances
and weights. Here: TopK autoencoders of their own; translation is the squared error of the other modality's row,
rebuilt from this one's code; consistency the squared distance of a pair's codes; and of distributions the sliced
squared Wasserstein distance, over random directions, of translated and real rows, and of both modalities' codes. One
strength weighs all four.
"""

import torch
from torch import Tensor

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.methods.sparc import Sparc
from isoenergy.arena.pair_training import squared_error, train
from isoenergy.arena.pairs import Rows

_DIRECTIONS = 32


class CoSae(Sparc):
    """The weights of SPARC's two streams, each of which chooses its own atoms."""

    def __init__(self, dim: int, budget: Budget, strength: float, seed: int) -> None:
        super().__init__(dim, budget, strength, seed)
        self._random = torch.Generator().manual_seed(seed)

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return both errors, and the four terms."""
        rows = {"image": image, "text": text}
        codes = {name: self.codes(x, name) for name, x in rows.items()}
        own = [squared_error(rows[name], self.decode(codes[name], name)) for name in rows]
        translated = {"image": self.decode(codes["text"], "image"), "text": self.decode(codes["image"], "text")}
        terms = [
            *(squared_error(rows[name], translated[name]) / 2 for name in rows),
            squared_error(codes["image"], codes["text"]),
            *(sliced_distance(rows[name], translated[name], self._random) / 2 for name in rows),
            sliced_distance(codes["image"], codes["text"], self._random),
        ]
        return (own[0] + own[1]) / 2 + self._strength * torch.stack(terms).sum()


def sliced_distance(a: Tensor, b: Tensor, random: torch.Generator) -> Tensor:
    """Return width × the mean over random unit directions of the squared Wasserstein distance along each.

    a, b: `(rows, width)`, as many rows. On the scale of a row's summed squared difference: the sum over orthogonal
    directions of a shift is its square.
    """
    directions = torch.randn(a.shape[1], _DIRECTIONS, generator=random)
    directions = directions / directions.norm(dim=0)
    one, other = ((x @ directions).sort(dim=0).values for x in (a, b))
    distance: Tensor = a.shape[1] * (one - other).square().mean()
    return distance


def fit_cosae(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Train with all four terms of weight `strength`."""
    model = CoSae(rows.image.shape[1], budget, strength, seed)
    train(model, rows, budget, seed)
    return model.fitted()
