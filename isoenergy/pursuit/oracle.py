"""The definition of Matching Pursuit that every other form is held to: a readable loop in plain torch."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from isoenergy.pursuit.gram import correlations
from isoenergy.pursuit.policy import PursuitPolicy


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments: indices (int32, -1 where a row had stopped), values and residual.

    Gradients flow through the values and residuals of all rounds; the selections are constants.
    """
    residual = x
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    indices, values = [], []
    for _ in range(k):
        with torch.no_grad():
            scores = correlations(residual, dictionary)
            best = (scores.abs() if policy.selection == "absolute" else scores).argmax(dim=1)
        atom = embedding(best, dictionary)  # its backward is deterministic on a CPU; that of dictionary[best] is not
        value = (residual * atom).sum(dim=1)
        if policy.stops:
            active = active & still_active(residual, value, policy)
            value = torch.where(active, value, 0)
        residual = residual - value.unsqueeze(1) * atom
        indices.append(torch.where(active, best, -1).int())
        values.append(value)
    return torch.stack(indices, 1), torch.stack(values, 1), residual


def still_active(residual: Tensor, value: Tensor, policy: PursuitPolicy) -> Tensor:
    """`(batch,)` bool: whether a row whose next coefficient would be `value` takes it."""
    goes_on = value > 0 if policy.selection == "non-negative" else torch.ones_like(value, dtype=torch.bool)
    if policy.tolerance is not None:
        goes_on = goes_on & (residual.square().sum(dim=1) > policy.tolerance**2)
    return goes_on
