"""How many rows of a gallery are nearer than what is right, counted no further than a query can be a hit."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.compiling.products import bf16_speed, product
from isoenergy.metrics.retrieval import nearer_and_as_near

_TILE_ROWS = 256
"""Of a gallery that are looked at together: most queries that miss are decided by the first."""
_SCREENED_ROWS = 1024
"""The same of rows in bf16, whose scores are half as large and looked at once."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asking:
    """Queries that ask galleries how many of their rows are nearer than what is right."""

    queries: Tensor
    """`(n, dim)` float32"""
    nearest: Tensor
    """`(n, 1)` product with the nearest of what is right."""

    def count(self, gallery: Tensor, tie: float, most: Counts) -> Counts:
        """Return `(2, n)`: how many rows of a gallery are nearer than what is right, and how many are as near.

        gallery: `(m, dim)` float32. Products that differ by no more than `tie` are equal. most: `(n,)`; a query is
        counted no further once so many rows are nearer. Where the processor is faster with numbers in bf16, float32
        products are those that `isoenergy.metrics.nearer_screen` leaves open.
        """
        counts = np.zeros((2, len(self.queries)), np.int64)
        undecided = np.flatnonzero(most > 0)
        if not len(undecided) or not len(gallery):
            return counts

        def by_products(chosen: Counts, rows: Tensor) -> Counts:
            products = product(self.queries[chosen], rows)
            return torch.stack(nearer_and_as_near(products, self.nearest[chosen], tie)).numpy()

        screen, tile_rows = None, _TILE_ROWS
        if bf16_speed():
            from isoenergy.metrics.nearer_screen import NearerScreen  # numba, which who starts workers does not need

            tile_rows = _SCREENED_ROWS
            screen = NearerScreen(self.queries, self.nearest, self._bounds, gallery, tie, tile_rows, by_products)
        for rows in gallery.split(tile_rows):
            wanted = (most - counts[0])[undecided]
            counts[:, undecided] += screen.count(undecided, rows, wanted) if screen else by_products(undecided, rows)
            undecided = undecided[counts[0, undecided] < most[undecided]]
            if not len(undecided):
                break
        return counts

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        from isoenergy.metrics.nearer_screen import row_bounds

        return row_bounds(self.queries)
