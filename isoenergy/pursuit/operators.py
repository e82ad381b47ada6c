"""The CUDA form as operators of torch: what traces or profiles a step sees names and shapes where it launches kernels.

On torch's meta device they return empty tensors of the shapes that a GPU would: a step that runs there asks for no
value of a tensor, and so waits for no GPU.
"""

from typing import Any

import torch
from torch import Tensor

from isoenergy.pursuit.policy import PursuitPolicy, Selection

_LIBRARY = torch.library.Library("isoenergy", "DEF")
_LIBRARY.define(
    "pursue(Tensor x, Tensor dictionary, Tensor gram, int k, str selection, float? tolerance,"
    " int dictionaries) -> (Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "reverse(Tensor dictionary, Tensor indices, Tensor values, Tensor residual, Tensor grad_values,"
    " Tensor grad_residual, bool in_order) -> (Tensor, Tensor)"
)

Triple = tuple[Tensor, Tensor, Tensor]


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor, dictionaries: int = 1) -> Triple:
    """Run the pursuit: see `isoenergy.pursuit.triton_kernels.pursue`."""
    rules = policy.selection, policy.tolerance
    found: Triple = torch.ops.isoenergy.pursue(x, dictionary, gram, k, *rules, dictionaries)
    return found


def reverse(
    dictionary: Tensor,
    indices: Tensor,
    values: Tensor,
    residual: Tensor,
    grad_values: Tensor,
    grad_residual: Tensor,
    in_order: bool,
) -> tuple[Tensor, Tensor]:
    """Run the reverse pass: see `isoenergy.pursuit.triton_kernels.reverse`."""
    arguments = dictionary, indices, values, residual, grad_values, grad_residual, in_order
    gradients: tuple[Tensor, Tensor] = torch.ops.isoenergy.reverse(*arguments)
    return gradients


def _pursue(
    x: Tensor,
    dictionary: Tensor,
    gram: Tensor,
    k: int,
    selection: Selection,
    tolerance: float | None,
    dictionaries: int,
) -> Triple:
    from isoenergy.pursuit import triton_kernels  # not every machine has Triton

    policy = PursuitPolicy(selection, tolerance)
    return triton_kernels.pursue(x, dictionary, k, policy, gram, dictionaries=dictionaries)


def _reverse(*arguments: Any) -> tuple[Tensor, Tensor]:
    from isoenergy.pursuit import triton_kernels

    return triton_kernels.reverse(*arguments)


def _pursue_shapes(x: Tensor, dictionary: Tensor, gram: Tensor, k: int, *rules: object) -> Triple:
    del dictionary, gram, rules
    return x.new_empty(len(x), k, dtype=torch.int32), x.new_empty(len(x), k), x.new_empty(x.shape)


def _reverse_shapes(dictionary: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    return others[2].new_empty(others[2].shape), dictionary.new_empty(dictionary.shape)


for _name, _function, _shapes in (("pursue", _pursue, _pursue_shapes), ("reverse", _reverse, _reverse_shapes)):
    _LIBRARY.impl(_name, _function, "CUDA")
    _LIBRARY.impl(_name, _function, "CPU")  # Triton's interpreter
    torch.library.register_fake(f"isoenergy::{_name}", _shapes, lib=_LIBRARY)
