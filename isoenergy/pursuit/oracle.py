"""The definition of Matching Pursuit that every other form is held to: a readable loop in plain torch."""

import torch
from torch import Tensor
from torch.nn.functional import embedding

from isoenergy.codes import SparseCodes


def matching_pursuit_oracle(x: Tensor, dictionary: Tensor, k: int) -> SparseCodes:
    """Run the pursuit on checked arguments; see `isoenergy.pursuit.matching_pursuit`.

    Gradients flow through the values and residuals of all rounds; the selections are constants.
    """
    residual = x
    indices, values = [], []
    for _ in range(k):
        with torch.no_grad():
            best = (residual @ dictionary.T).argmax(dim=1)
        atom = embedding(best, dictionary)  # its backward is deterministic on a CPU; that of dictionary[best] is not
        value = (residual * atom).sum(dim=1)
        residual = residual - value.unsqueeze(1) * atom
        indices.append(best)
        values.append(value)
    return SparseCodes(torch.stack(indices, 1), torch.stack(values, 1), residual)
