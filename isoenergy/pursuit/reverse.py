"""The reverse pass in plain torch, for any device: from indices, values and the final residual alone.

Walking the rounds backwards restores each round's residual: O(batch · k · dim), no graph through the rounds. With d the
round's atom, v its value, r the residual before it and g the gradient of the residual after it, the coefficient's
gradient is h = ∂L/∂v - ⟨g, d⟩; then ∂L/∂d += h r - v g, and g += h d. Source: paper 1.3, derived anew for atoms of
any norm and gradients into the residual.
"""

import torch
from torch import Tensor


def reverse(
    dictionary: Tensor, indices: Tensor, values: Tensor, residual: Tensor, grad_values: Tensor, grad_residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x, `(batch, dim)`, and of the dictionary, `(atoms, dim)`.

    indices: `(batch, k)` int32, -1 where a row had stopped; the others as `autograd.DifferentiablePursuit` saves them.
    """
    grad, restored = grad_residual.clone(), residual.clone()
    grad_dictionary = torch.zeros_like(dictionary)
    for step in range(indices.shape[1] - 1, -1, -1):
        taken = indices[:, step] >= 0
        index = indices[:, step].clamp_min(0).long()
        atom = dictionary[index]
        value = values[:, step : step + 1]
        weight = (grad_values[:, step] - (grad * atom).sum(dim=1)) * taken
        weight = weight.unsqueeze(1)
        restored = torch.addcmul(restored, value, atom)
        grad_dictionary.index_add_(0, index, weight * restored - value * grad * taken.unsqueeze(1))
        grad = torch.addcmul(grad, weight, atom)
    return grad, grad_dictionary
