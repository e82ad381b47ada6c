"""Several dictionaries on the same rows in one launch: at a small batch each alone leaves most of a GPU idle."""

from collections.abc import Sequence

import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit.autograd import DifferentiablePursuit
from isoenergy.pursuit.checks import check_arguments
from isoenergy.pursuit.ending import ended
from isoenergy.pursuit.plan import plan_pursuit
from isoenergy.pursuit.policy import PursuitPolicy

_MOST_NUMBERS = 2**28
"""Of all Gram matrices, and of all correlations: 1 GiB each in float32."""


def pays_together(x: Tensor, dictionaries: Sequence[Tensor], k: int) -> bool:
    """Whether some `(atoms, dim)` dictionaries are best pursued at once: in the CUDA form, if there is room."""
    atoms, dim = dictionaries[0].shape
    if len(dictionaries) == 1 or len(dictionaries) * max(len(x), atoms) * atoms > _MOST_NUMBERS:
        return False
    return plan_pursuit(len(x), dim, atoms, k, x.device, x.dtype).form == "triton"


def pursue_together(x: Tensor, dictionaries: Sequence[Tensor], k: int, policy: PursuitPolicy) -> list[SparseCodes]:
    """Return what `matching_pursuit` does for `(batch, dim)` rows and each of several `(atoms, dim)` dictionaries.

    Rows and dictionaries, in float32 or float64, are taken as looked at. It is the CUDA form, differentiable in both;
    a CPU runs it in Triton's interpreter.
    """
    for dictionary in dictionaries:
        check_arguments(x, dictionary, k, finite=False)
    count, atoms = len(dictionaries), len(dictionaries[0])
    rows, all_atoms = x.repeat(count, 1), torch.cat(list(dictionaries))
    found = DifferentiablePursuit.apply(rows, all_atoms, k, policy, "triton", "full", None, count)
    parts = zip(*(tensor.chunk(count) for tensor in found), dictionaries, strict=True)
    return [
        ended((indices - number * atoms).clamp_min(-1), values, residual, x, dictionary, policy)
        for number, (indices, values, residual, dictionary) in enumerate(parts)
    ]
