"""How many rows of a gallery are nearer than what is right, counted no further than a query can be a hit.

Counts are those of float64 products: float32 ones decide about all rows that their errors cannot, and sums of hundreds
of products that have one sign, as in a cone, are off by more than rows of one direction differ.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.compiling.products import bf16_speed, product, product_error
from isoenergy.metrics.retrieval import nearer_and_as_near

_TILE_ROWS = 256
"""Of a gallery that are looked at together: most queries that miss are decided by the first."""
_SCREENED_ROWS = 1024
"""The same of rows in bf16, whose scores are half as large and looked at once."""
_MOST_OPEN = 1 / 16
"""Of some queries' products; of more than that, float64 products of all cost less than of each."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asking:
    """Queries that ask galleries how many of their rows are nearer than what is right."""

    queries: Tensor
    """`(n, dim)` float32"""
    nearest: Tensor
    """`(n, 1)` product with the nearest of what is right, float64 if it is to be told from others by less than float32
    has digits."""

    def count(self, gallery: Tensor, tie: float, most: Counts) -> Counts:
        """Return `(2, n)`: how many rows of a gallery are nearer than what is right, and how many are as near.

        gallery: `(m, dim)` float32. Products that differ by no more than `tie` are equal. most: `(n,)`; a query is
        counted no further once so many rows are nearer. Where the processor is faster with numbers in bf16,
        `isoenergy.metrics.nearer_screen` decides most rows before.
        """
        counts = np.zeros((2, len(self.queries)), np.int64)
        undecided = np.flatnonzero(most > 0)
        if not len(undecided) or not len(gallery):
            return counts
        error = product_error(gallery.shape[1]) * self._largest_norm * float(gallery.norm(dim=1).max())

        def by_products(chosen: Counts, rows: Tensor) -> Counts:
            return self._count_by_products(chosen, rows, tie, error)

        screen, tile_rows = None, _TILE_ROWS
        if bf16_speed():
            from isoenergy.metrics.nearer_screen import NearerScreen  # numba, which who starts workers does not need

            tile_rows = _SCREENED_ROWS
            screen = NearerScreen(self.queries, self._nearest, self._bounds, gallery, tie, tile_rows, by_products)
        for rows in gallery.split(tile_rows):
            wanted = (most - counts[0])[undecided]
            counts[:, undecided] += screen.count(undecided, rows, wanted) if screen else by_products(undecided, rows)
            undecided = undecided[counts[0, undecided] < most[undecided]]
            if not len(undecided):
                break
        return counts

    def _count_by_products(self, chosen: Counts, rows: Tensor, tie: float, error: float) -> Counts:
        """Count by float32 products, and by float64 ones where those are within their error of an edge of the tie."""
        products, nearest = product(self.queries[chosen], rows).numpy(), self._nearest[chosen, None]
        above, least = _outwards(nearest + tie + error, np.inf), _outwards(nearest - tie - error, -np.inf)
        nearer = np.count_nonzero(products > above, axis=1)
        is_open = (products >= least) & (products <= above)
        counts, opened = np.stack([nearer, np.zeros_like(nearer)]), np.count_nonzero(is_open, axis=1)
        some = np.flatnonzero(opened)
        queries = self.queries[chosen[some]].double()
        if opened.sum() > _MOST_OPEN * len(some) * len(rows):
            exact = (queries @ rows.double().T).masked_fill_(torch.from_numpy(~is_open[some]), -torch.inf)
            counts[:, some] += torch.stack(nearer_and_as_near(exact, torch.from_numpy(nearest[some]), tie)).numpy()
        elif len(some):
            at, column = np.nonzero(is_open[some])
            of_each = (queries[torch.from_numpy(at)] * rows[torch.from_numpy(column)].double()).sum(1).numpy()
            differences = of_each - nearest[some[at], 0]
            counts[0, some] += np.bincount(at, differences > tie, len(some)).astype(np.int64)
            counts[1, some] += np.bincount(at, np.abs(differences) <= tie, len(some)).astype(np.int64)
        return counts

    @cached_property
    def _nearest(self) -> Floats:
        nearest: Floats = self.nearest.double().numpy()[:, 0]
        return nearest

    @cached_property
    def _largest_norm(self) -> float:
        return float(self.queries.norm(dim=1).max())

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        from isoenergy.metrics.nearer_screen import row_bounds

        return row_bounds(self.queries)


def _outwards(limits: Floats, end: float) -> npt.NDArray[np.float32]:
    return np.nextafter(limits.astype(np.float32), np.float32(end))
