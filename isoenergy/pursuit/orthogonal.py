"""Orthogonal Matching Pursuit, for inference: after each choice all coefficients of a row are fitted anew."""

import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit.checks import check_arguments, in_working_precision
from isoenergy.pursuit.gram import matmul_precision
from isoenergy.pursuit.policy import PursuitPolicy
from isoenergy.pursuit.residual import best_atom

_ROWS = 1024
_ABSOLUTE = PursuitPolicy(selection="absolute")


@torch.no_grad()
def orthogonal_matching_pursuit(
    x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy = _ABSOLUTE
) -> SparseCodes:
    """Encode each row of `x` with at most `k` atoms whose coefficients are the least-squares fit; no gradient.

    x: `(batch, dim)`, floating point. dictionary: `(atoms, dim)`, atoms of any norm. k: at least 1.
    policy: how atoms are chosen and when a row stops; a refitted coefficient may have either sign under all of them.
    A row also stops when its residual is zero to rounding. Its remaining rounds have value 0.

    Raises ValueError, naming the argument, as `matching_pursuit` does.
    Source: Pati, Rezaiifar and Krishnaprasad 1993.
    """
    check_arguments(x, dictionary, k)
    working_x, working_dictionary = in_working_precision(x), in_working_precision(dictionary)
    indices = torch.zeros(len(x), k, dtype=torch.int32, device=x.device)
    values, residual = working_x.new_zeros(len(x), k), working_x.clone()
    with matmul_precision("full"):
        for low in range(0, len(x), _ROWS):
            rows = slice(low, low + _ROWS)
            _pursue_block(working_x[rows], working_dictionary, policy, indices[rows], values[rows], residual[rows])
    return SparseCodes(indices, values.to(x.dtype), residual.to(x.dtype))


def _pursue_block(
    x: Tensor, dictionary: Tensor, policy: PursuitPolicy, indices: Tensor, values: Tensor, residual: Tensor
) -> None:
    batch, dim = x.shape
    k = indices.shape[1]
    rounding = torch.finfo(x.dtype).eps * dim**0.5 * x.norm(dim=1)
    floor = rounding.clamp_min(policy.tolerance or 0.0)
    chosen = x.new_zeros(batch, k, dim)
    active = torch.ones(batch, dtype=torch.bool, device=x.device)
    for step in range(min(k, dim)):
        best = best_atom(residual, dictionary, policy)
        score = (residual * dictionary[best]).sum(dim=1)
        active &= residual.norm(dim=1) > floor
        active &= score > 0 if policy.selection == "non-negative" else score != 0
        rows = active.nonzero().squeeze(1)
        if not len(rows):
            return
        indices[rows, step] = best[rows].int()
        chosen[rows, step] = dictionary[best[rows]]
        atoms = chosen[rows, : step + 1]
        fit = torch.linalg.lstsq(atoms.mT, x[rows].unsqueeze(2)).solution.squeeze(2)
        values[rows, : step + 1] = fit
        residual[rows] = x[rows] - torch.einsum("bk,bkd->bd", fit, atoms)
