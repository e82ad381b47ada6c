"""One differentiable pursuit over all forms: forward by any of them, backward from what they have in common."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from isoenergy.pursuit import operators
from isoenergy.pursuit import residual as residual_form
from isoenergy.pursuit.gram import gram_matrices, matmul_precision
from isoenergy.pursuit.passing_gram import passing_gram_matrix
from isoenergy.pursuit.plan import Form
from isoenergy.pursuit.policy import Precision, PursuitPolicy
from isoenergy.pursuit.reverse import reverse


class DifferentiablePursuit(torch.autograd.Function):
    """Keeps, for backward, 4 bytes of index and the value of each atom chosen, the final residual, and no graph."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dictionary: Tensor,
        k: int,
        policy: PursuitPolicy,
        form: Form,
        precision: Precision,
        gram: Tensor | None,
        dictionaries: int = 1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return indices (int32, -1 where a row had stopped), values and residual.

        dictionaries: more than one for the CUDA form alone, see `triton_kernels.pursue`.
        """
        if dictionaries > 1:
            gram = gram_matrices(dictionary, dictionaries)
        elif gram is None and form != "residual":
            gram = passing_gram_matrix(dictionary, precision, form)
        x, dictionary = x.detach(), dictionary.detach().contiguous()
        with matmul_precision(precision):
            indices, values, residual = _pursue(x, dictionary, k, policy, form, gram, dictionaries)
        ctx.form = form
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(dictionary, indices, values, residual)
        return indices, values, residual

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _indices: Tensor, grad_values: Tensor, grad_residual: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and the dictionary."""
        dictionary, indices, values, residual = ctx.saved_tensors
        gradients: tuple[Tensor | None, Tensor]
        arguments = dictionary, indices, values, residual, grad_values, grad_residual
        if ctx.form == "triton":
            gradients = operators.reverse(*arguments, in_order=torch.are_deterministic_algorithms_enabled())
        elif dictionary.device.type == "cpu":
            from isoenergy.pursuit import cpu

            gradients = cpu.reverse(*arguments, wants_x=ctx.needs_input_grad[0])
        else:
            gradients = reverse(*arguments)
        return *gradients, None, None, None, None, None, None


def _pursue(
    x: Tensor,
    dictionary: Tensor,
    k: int,
    policy: PursuitPolicy,
    form: Form,
    gram: Tensor | None,
    dictionaries: int,
) -> tuple[Tensor, Tensor, Tensor]:
    if gram is None or form == "residual":
        return residual_form.pursue(x, dictionary, k, policy)
    if form == "cpu":
        from isoenergy.pursuit import cpu  # numba takes a second to load

        return cpu.pursue(x, dictionary, k, policy, gram)
    if form == "screen":
        from isoenergy.pursuit import screen

        return screen.pursue(x, dictionary, k, policy, gram)
    return operators.pursue(x, dictionary, k, policy, gram, dictionaries)
