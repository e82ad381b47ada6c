"""The form for dictionaries too large for a Gram matrix: a matrix product a round, with the maximum taken by tiles."""

import torch
from torch import Tensor

from isoenergy.pursuit.gram import correlations, even_parts
from isoenergy.pursuit.oracle import still_active
from isoenergy.pursuit.policy import PursuitPolicy

_ROWS = 1024
_TILE_ELEMENTS = 2**22


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments, on any device; the results are those of `oracle.pursue`, without graph.

    At most `_TILE_ELEMENTS` correlations exist at a time.
    """
    indices = torch.empty(len(x), k, dtype=torch.int32, device=x.device)
    values = x.new_empty(len(x), k)
    residual = x.clone()
    for low in range(0, len(x), _ROWS):
        rows = slice(low, low + _ROWS)
        _pursue_block(residual[rows], dictionary, policy, indices[rows], values[rows])
    return indices, values, residual


def _pursue_block(residual: Tensor, dictionary: Tensor, policy: PursuitPolicy, indices: Tensor, values: Tensor) -> None:
    active = torch.ones(len(residual), dtype=torch.bool, device=residual.device)
    for step in range(indices.shape[1]):
        best = best_atom(residual, dictionary, policy)
        atom = dictionary[best]
        value = (residual * atom).sum(dim=1)
        if policy.stops:
            active &= still_active(residual, value, policy)
            value = torch.where(active, value, 0)
        residual.addcmul_(value.unsqueeze(1), atom, value=-1)
        indices[:, step] = torch.where(active, best, -1)
        values[:, step] = value


def best_atom(residual: Tensor, dictionary: Tensor, policy: PursuitPolicy) -> Tensor:
    """`(rows,)` int64, the atom that `policy` selects for each row: the lowest index among equals."""
    score = residual.new_full((len(residual),), -torch.inf)
    best = torch.zeros(len(residual), dtype=torch.int64, device=residual.device)
    for low, high in even_parts(len(dictionary), _TILE_ELEMENTS // len(residual)):
        scores = correlations(residual, dictionary[low:high])
        if policy.selection == "absolute":
            scores.abs_()
        tile_score, tile_best = scores.max(dim=1)
        better = tile_score > score
        score = torch.where(better, tile_score, score)
        best = torch.where(better, tile_best + low, best)
    return best
