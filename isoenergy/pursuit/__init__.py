"""Matching Pursuit: each row of a batch as a sum of k atoms, greedily chosen."""

import os

import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.pursuit import oracle
from isoenergy.pursuit.autograd import DifferentiablePursuit
from isoenergy.pursuit.checks import check_arguments, check_gram, in_working_precision, working_dtype
from isoenergy.pursuit.ending import ended
from isoenergy.pursuit.gram import gram_matrix, matmul_precision
from isoenergy.pursuit.orthogonal import orthogonal_matching_pursuit
from isoenergy.pursuit.plan import Backend, Form, Plan, plan_pursuit
from isoenergy.pursuit.policy import Precision, PursuitPolicy, Repeats, Selection
from isoenergy.pursuit.screen_gram import screen_gram_matrix

__all__ = [
    "Backend",
    "Plan",
    "Precision",
    "PursuitPolicy",
    "Repeats",
    "Selection",
    "gram_matrix",
    "matching_pursuit",
    "orthogonal_matching_pursuit",
    "plan_pursuit",
    "screen_gram_matrix",
]

_PAPER = PursuitPolicy()


def matching_pursuit(
    x: Tensor,
    dictionary: Tensor,
    k: int,
    *,
    policy: PursuitPolicy = _PAPER,
    backend: Backend = "auto",
    precision: Precision = "full",
    gram: Tensor | None = None,
    looked_at: bool = False,
) -> SparseCodes:
    """Encode each row of `x` with `k` rounds of Matching Pursuit; differentiable in both tensors, once.

    x: `(batch, dim)`, floating point; batch may be 0. Half precisions are computed in float32.
    dictionary: `(atoms, dim)`, the dtype and device of `x`; atoms of any norm.
    k: rounds, at least 1. An atom may be chosen again; ties go to the lowest index.
    policy: what is selected and when a row stops; its remaining rounds then have index 0 and value 0.
    backend: the form that runs; auto asks `plan_pursuit`. All give the same codes, to rounding: oracle is the plain
        loop, cpu and triton update correlations by rows of the Gram matrix, residual has no Gram matrix. screen is cpu
        in bf16, and computes in float32 what that leaves undecided; it takes no float64. triton runs on CUDA, on a CPU
        in Triton's interpreter (TRITON_INTERPRET=1, slow), and on the meta device, for shapes alone.
    precision: full is float32 as IEEE has it, whatever the process has set. tf32 computes correlations and Gram matrix
        in TF32 on CUDA: 96 to 100 % of rows then keep their sequence of atoms (measured with operands rounded to
        TF32, by shape, by `python -m tests.benchmarks.pursuit`).
    gram: `gram_matrix(dictionary)`, or `screen_gram_matrix(dictionary)` for the screen, to build it once for many
        batches; it must be of this very dictionary, of which a row is checked.
    looked_at: x and the dictionary are known to be finite, or will be found not to be: on a CPU they are looked at all
        the same, which costs little, elsewhere not, where looking waits for the device.

    Raises ValueError, naming the argument, for wrong shapes, dtypes, devices, k, backend, or values not finite.
    Source: paper 1.3. The reverse pass is that of `isoenergy.pursuit.reverse`.
    """
    check_arguments(x, dictionary, k, finite=x.device.type == "cpu" or not looked_at)
    if gram is not None:
        check_gram(gram, dictionary)
    k = int(k)
    form = _form(x, dictionary, k, backend, precision, gram)
    dtype = x.dtype
    x, dictionary = in_working_precision(x), in_working_precision(dictionary)
    if form == "oracle":
        with matmul_precision(precision):
            indices, values, residual = oracle.pursue(x, dictionary, k, policy)
    else:
        indices, values, residual = DifferentiablePursuit.apply(x, dictionary, k, policy, form, precision, gram)
    codes = ended(indices, values, residual, x, dictionary, policy)
    return SparseCodes(codes.indices, codes.values.to(dtype), codes.residual.to(dtype))


def _form(x: Tensor, dictionary: Tensor, k: int, backend: Backend, precision: Precision, gram: Tensor | None) -> Form:
    kind, dtype = x.device.type, working_dtype(x)
    possible: dict[str, tuple[Form, ...]] = {
        "cpu": ("oracle", "cpu", "screen", "residual"),
        "cuda": ("oracle", "triton", "residual"),
        "meta": ("oracle", "triton", "residual"),
    }
    forms = possible.get(kind, ("oracle", "residual"))
    if kind == "cpu" and os.environ.get("TRITON_INTERPRET") == "1":
        forms += ("triton",)
    if backend != "auto" and backend not in forms:
        raise ValueError(f"backend must be auto, {' or '.join(forms)} for tensors on {kind}, got {backend!r}")
    if backend == "screen" and dtype != torch.float32:
        raise ValueError(f"backend must be auto, oracle, cpu or residual for {dtype}: screen computes in float32")
    if backend in ("cpu", "triton") and gram is not None and gram.dtype != dtype:
        raise ValueError(f"gram must be gram_matrix(dictionary) for backend {backend!r}, got one of the screen's")
    if backend == "screen" and gram is not None and gram.dtype == dtype:
        raise ValueError(f"gram must be screen_gram_matrix(dictionary) for backend {backend!r}, got one in {dtype}")
    if precision not in ("full", "tf32") or (precision == "tf32" and kind != "cuda"):
        raise ValueError(f"precision must be full, or tf32 for tensors on cuda, got {precision!r} on {kind}")
    if backend != "auto":
        return backend
    given = None if gram is None else gram.dtype
    return plan_pursuit(len(x), x.shape[1], len(dictionary), k, x.device, dtype, gram is not None, given).form
