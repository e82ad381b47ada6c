"""Where a row ends: at a stop, and because an atom is chosen again.

A round does not know of later ones, so that all are run and those after the repeat are left out: any form will do.
"""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit.policy import PursuitPolicy


def ended(
    indices: Tensor, values: Tensor, residual: Tensor, x: Tensor, dictionary: Tensor, policy: PursuitPolicy
) -> SparseCodes:
    """Return the codes of what a form found for `x`, `(batch, dim)`: stopped rounds have index and value 0."""
    if policy.stops:
        indices = indices.clamp_min(0)
    if policy.repeats == "end":
        is_over = after_a_repeat(indices, values)
        indices, values = indices.masked_fill(is_over, 0), values * ~is_over
        residual = x - embedding_bag(indices, dictionary, per_sample_weights=values, mode="sum")
    return SparseCodes(indices, values, residual)


@torch.no_grad()
def after_a_repeat(indices: Tensor, values: Tensor) -> Tensor:
    """Return `(batch, k)` bool: which rounds follow one that chose an earlier one's atom; one of value 0 is none."""
    atoms, order = indices.masked_fill(values == 0, -1).sort(dim=1, stable=True)
    again = torch.zeros_like(atoms, dtype=torch.bool)
    again[:, 1:] = (atoms[:, 1:] == atoms[:, :-1]) & (atoms[:, 1:] >= 0)
    chosen_again = torch.zeros_like(again).scatter(1, order, again)
    return chosen_again.cumsum(1) - chosen_again.int() > 0
