"""Pairs of a few known atoms, small enough that every method trains in a second."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.arena.pairs import Rows


def planted_rows(image_atoms: Tensor, text_atoms: Tensor, pairs: int, active: int, seed: int = 0) -> Rows:
    """Each pair has `active` concepts, the same in image and text, of random strengths; `(concepts, dim)` atoms."""
    random = torch.Generator().manual_seed(seed)
    concepts = torch.rand(pairs, len(image_atoms), generator=random).argsort(1)[:, :active]
    codes = torch.zeros(pairs, len(image_atoms)).scatter(1, concepts, 0.5 + torch.rand(pairs, active, generator=random))
    image, text = normalize(codes @ image_atoms, dim=1), normalize(codes @ text_atoms, dim=1)
    return Rows(image, text, normalize(codes, dim=1), normalize(codes, dim=1), torch.full((pairs,), -1))


def orthogonal(rows: int, dim: int, seed: int = 0) -> Tensor:
    """`(rows, dim)` orthonormal rows."""
    return torch.linalg.qr(torch.randn(dim, rows, generator=torch.Generator().manual_seed(seed)))[0].T


def recovered(dictionary: Tensor, truth: Tensor, from_cosine: float = 0.9) -> float:
    """Share of true directions that some atom has."""
    found: Tensor = (normalize(truth, dim=1) @ normalize(dictionary, dim=1).T).max(1).values >= from_cosine
    return float(found.double().mean())


def joined(image: Tensor, text: Tensor, image_truth: Tensor, text_truth: Tensor, from_cosine: float = 0.9) -> float:
    """Share of concepts of which one and the same column has both directions."""
    both = [normalize(t, dim=1) @ normalize(d, dim=1).T for t, d in ((image_truth, image), (text_truth, text))]
    return float((torch.minimum(*both).max(1).values >= from_cosine).double().mean())
