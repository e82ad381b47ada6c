"""Which rows of a gallery are nearer: products in bf16 decide nearly all, float64 ones what their errors leave open.

Counts are those of float64 products.

Proof. Let q̂ and ĝ be a query and a row of the gallery in bf16, M_q ≥ ‖q‖, ‖q̂‖ and Δ_q ≥ ‖q̂ - q‖ of all queries, M_g
and Δ_g of all rows. Then |⟨q̂, ĝ⟩ - ⟨q, g⟩| ≤ |⟨q̂ - q, ĝ⟩| + |⟨q, ĝ - g⟩| ≤ Δ_q M_g + M_q Δ_g. Sums of n products in
float32 are within γ = 2 (n + 2) 2⁻²⁴ of the product of both norms, in any order: those of the rounded rows, and as much
again for float64's own rounding and what vanishes. So the sum y of the rounded rows' products is within E = Δ_q M_g +
M_q Δ_g + 2 γ M_q M_g of the product, and the score is ŷ in bf16, |ŷ - y| ≤ 2⁻⁸ |ŷ|. Where ŷ - 2⁻⁸ |ŷ| > t + E, the
product is above t; where ŷ + 2⁻⁸ |ŷ| < t - E it is below. Both are limits on ŷ, as either side rises with it; each is
rounded to bf16, and moved by one number more. ∎
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from isoenergy.compiling.compiled import compiled, compiled_exactly
from isoenergy.compiling.products import bf16_product, product_error
from isoenergy.pursuit.bf16_code import LINE
from isoenergy.pursuit.screen_kernels import atom_bounds

_BF16_ROUNDING = 2.0**-8  # of a number, at most, times its magnitude
_MOST_OPEN = 1 / 16
"""Of a tile's scores; of more than that, products of all cost less than of each."""
_MOST_DECIDED = 1 / 8
"""Of the queries that are multiplied; with more, those that are left are gathered anew."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class NearerScreen:
    """Scores in bf16 between queries and a gallery's rows, and what they decide."""

    def __init__(
        self,
        queries: Tensor,
        nearest: Floats,
        bounds: tuple[float, float],
        gallery: Tensor,
        tie: float,
        tile_rows: int,
        by_products: Callable[[Counts, Tensor], Counts],
    ) -> None:
        """bounds: of the queries, of `row_bounds`; by_products: counts, by products of all, of some queries in rows.

        queries, gallery, tie: as `isoenergy.metrics.nearer_rows.Asking` has them; so is nearest, `(n,)`.
        """
        self._queries, self._nearest, self._tie = queries.numpy(), nearest, tie
        self._by_products = by_products
        self._rounded = self._multiplied = queries.to(torch.bfloat16)
        self._among = np.arange(len(queries))
        error = _error(*bounds, *row_bounds(gallery), gallery.shape[1])
        self._low, self._high = _limits(self._nearest, tie, error)
        self._tile = self._rounded.new_empty(tile_rows, gallery.shape[1])
        self._scores = self._rounded.new_empty(len(queries) * tile_rows)

    def count(self, undecided: Counts, rows: Tensor, most: Counts) -> Counts:
        """Return `(2, undecided)` counts in a tile of the gallery; of what is decided with it, any from `most` on.

        undecided: some of the queries that were so in the last call.
        """
        scores, places = self._scored(undecided, rows), np.searchsorted(self._among, undecided)
        low, high = self._low[undecided], self._high[undecided]
        counts, perhaps = np.zeros((2, len(undecided)), np.int64), np.zeros(len(undecided), np.int64)
        _reach(scores, places, low, high, counts[0], perhaps)
        left = np.flatnonzero((perhaps > counts[0]) & (counts[0] < most))
        asking = undecided[left]
        if (perhaps - counts[0])[left].sum() > _MOST_OPEN * len(left) * len(rows):
            counts[:, left] = self._by_products(asking, rows)
        elif len(left):
            least, above = self._nearest[asking] - self._tie, self._nearest[asking] + self._tie
            arrays = self._queries, rows.numpy(), asking, least, above
            counts[:, left] += _decide(scores, places[left], low[left], high[left], *arrays)
        return counts

    def _scored(self, undecided: Counts, rows: Tensor) -> npt.NDArray[np.int16]:
        if len(undecided) <= (1 - _MOST_DECIDED) * len(self._among):
            self._among, self._multiplied = undecided, self._rounded[undecided]
        scores = self._scores[: len(self._among) * len(rows)].view(len(self._among), len(rows))
        bf16_product(self._multiplied, self._tile[: len(rows)].copy_(rows), out=scores)
        found: npt.NDArray[np.int16] = scores.view(torch.int16).numpy()
        return found


def row_bounds(rows: Tensor) -> tuple[float, float]:
    """Return M and Δ of `(n, dim)` float32 rows: the largest norm, rounded or not, and of what rounding changes."""
    padding = -rows.shape[1] % LINE
    largest, lost = atom_bounds((pad(rows, (0, padding)) if padding else rows.contiguous()).numpy())
    return float(largest), float(lost)


def _error(most: float, lost: float, most_of_rows: float, lost_of_rows: float, dim: int) -> float:
    """Return E."""
    return lost * most_of_rows + most * lost_of_rows + 2 * product_error(dim) * most * most_of_rows


def _limits(
    nearest: npt.NDArray[np.float64], tie: float, error: float
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """Return the `places` from which on a score may be as near, and is nearer for sure."""
    low, high = nearest - tie - error, nearest + tie + error
    low, high = low / (1 + np.copysign(_BF16_ROUNDING, low)), high / (1 - np.copysign(_BF16_ROUNDING, high))
    low_place, high_place = (
        _place(torch.from_numpy(each).to(torch.bfloat16).view(torch.int16)) for each in (low, high)
    )
    return (low_place - 1).numpy(), (high_place + 1).numpy()


def _place(bits: Any) -> Any:  # of numba, numpy and torch
    """Return where bf16 numbers, as int16, stand in their order: int16 that rise with them."""
    return bits ^ ((bits >> 15) & 0x7FFF)


_place_of = compiled_exactly(_place)


@compiled_exactly
def _reach(scores, rows, low, high, surely, perhaps):  # type: ignore[no-untyped-def]  # numba finds the types
    """Write how many scores of some rows are from `high` on, and from `low` on."""
    for number in range(len(rows)):
        row, reached = rows[number], 0
        for column in range(scores.shape[1]):
            reached += _place_of(scores[row, column]) >= low[number]
        perhaps[number] = reached
        if reached == 0:
            continue
        reached = 0
        for column in range(scores.shape[1]):
            reached += _place_of(scores[row, column]) >= high[number]
        surely[number] = reached


@compiled
def _decide(scores, rows, low, high, queries, gallery, asking, least, above):  # type: ignore[no-untyped-def]
    """Return `(2, rows)`: of the scores between both limits, how many products exceed `above`, or else are `least`."""
    counts = np.zeros((2, len(rows)), np.int64)
    for number in range(len(rows)):
        for column in range(scores.shape[1]):
            place = _place_of(scores[rows[number], column])
            if place < low[number] or place >= high[number]:
                continue
            product = 0.0
            for i in range(queries.shape[1]):
                product += np.float64(queries[asking[number], i]) * np.float64(gallery[column, i])
            if product > above[number]:
                counts[0, number] += 1
            elif product >= least[number]:
                counts[1, number] += 1
    return counts
