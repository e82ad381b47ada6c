"""First and second moments of pairs of embeddings, as mergeable sums: what every linear way to close the gap needs."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.statistics.sums import MergeableSums

Floats = npt.NDArray[np.float64]

_BLOCK_ROWS = 4096


@dataclass
class PairMoments(MergeableSums):
    """Sums over pairs of an image's row x and its text's row y, in float64; two halves merge into the whole."""

    pairs: int
    image_first: Floats
    """`(dim,)` sum of x."""
    text_first: Floats
    """`(dim,)` sum of y."""
    image_second: Floats
    """`(dim, dim)` sum of x xᵀ."""
    text_second: Floats
    """`(dim, dim)` sum of y yᵀ."""
    cross: Floats
    """`(dim, dim)` sum of x yᵀ."""

    @classmethod
    def zeros(cls, dim: int) -> Self:
        """Return the sums of no pairs."""
        square = (dim, dim)
        return cls(0, np.zeros(dim), np.zeros(dim), np.zeros(square), np.zeros(square), np.zeros(square))

    def update(self, images: Tensor, texts: Tensor) -> None:
        """Add pairs: row i of `images` and row i of `texts`, `(n, dim)` each, of any float dtype, belong together.

        Products and sums are in float64: centring afterwards subtracts numbers that are nearly equal.
        Raises ValueError, and adds nothing, if the shapes do not match or a number is not finite.
        """
        expected = (len(images), len(self.image_first))
        if images.shape != expected or texts.shape != expected:
            raise ValueError(
                f"images and texts must pair up as (n, {expected[1]}) rows, "
                f"got {tuple(images.shape)} and {tuple(texts.shape)}"
            )
        for name, rows in (("images", images), ("texts", texts)):
            if not torch.isfinite(rows).all():
                raise ValueError(f"{name} hold numbers that are not finite: leave those pairs out")
        dim = len(self.image_first)
        for start in range(0, len(images), _BLOCK_ROWS):
            blocks = [rows.detach()[start : start + _BLOCK_ROWS].cpu().double() for rows in (images, texts)]
            both = torch.cat(blocks, dim=1).numpy()
            first, second = both.sum(0), both.T @ both  # one symmetric product is faster than three
            self.image_first += first[:dim]
            self.text_first += first[dim:]
            self.image_second += second[:dim, :dim]
            self.text_second += second[dim:, dim:]
            self.cross += second[:dim, dim:]
        self.pairs += len(images)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return len(self.image_first)

    @property
    def image_mean(self) -> Floats:
        """`(dim,)` mean image."""
        return self.image_first / max(self.pairs, 1)

    @property
    def text_mean(self) -> Floats:
        """`(dim,)` mean text."""
        return self.text_first / max(self.pairs, 1)

    @property
    def gap(self) -> Floats:
        """`(dim,)` mean image minus mean text: the gap vector of Liang et al. (2022); its norm is DiM (paper 1.11)."""
        return self.image_mean - self.text_mean

    @property
    def image_covariance(self) -> Floats:
        """`(dim, dim)` covariance of images, divided by the number of pairs."""
        return self.image_second / max(self.pairs, 1) - np.outer(self.image_mean, self.image_mean)

    @property
    def text_covariance(self) -> Floats:
        """`(dim, dim)` covariance of texts, divided by the number of pairs."""
        return self.text_second / max(self.pairs, 1) - np.outer(self.text_mean, self.text_mean)

    @property
    def cross_covariance(self) -> Floats:
        """`(dim, dim)` covariance of a pair's image (rows) and text (columns), divided by the number of pairs."""
        return self.cross / max(self.pairs, 1) - np.outer(self.image_mean, self.text_mean)
