"""The CPU form: correlations by one matrix product, then rounds on a row of them that stays in cache.

Subtracting an atom from a residual changes its correlation with every atom by a multiple of a row of the Gram matrix
G = D Dᵀ: c ← c - v G[j]. A round reads `atoms` numbers, where a matrix product would read `atoms × dim`. The kernels
are compiled by numba when first called, hence no compiler at installation, and run without the GIL on as many threads
as torch has. Results do not depend on the number of threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from torch import Tensor

from isoenergy.pursuit.gram import correlations, empty_on_huge_pages
from isoenergy.pursuit.policy import PursuitPolicy

_BLOCK_BYTES = 2**26  # of correlations at a time
_ROWS_A_TASK = 32
_COLUMNS_A_TASK = 64

_SIGNED, _NON_NEGATIVE, _ABSOLUTE = 0, 1, 2
_SELECTION = {"signed": _SIGNED, "non-negative": _NON_NEGATIVE, "absolute": _ABSOLUTE}
_CHUNK = 128  # atoms whose maximum is taken together; the best chunk alone is searched for its place
_CACHE_LINE_BYTES = 64
_STOPPED = -1


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments: indices (int32, -1 where a row had stopped), values and residual."""
    batch, atoms = len(x), len(dictionary)
    indices = torch.empty(batch, k, dtype=torch.int32)
    values, residual = x.new_empty(batch, k), x.clone(memory_format=torch.contiguous_format)
    if not batch:
        return indices, values, residual
    block = max(2, min(batch, _BLOCK_BYTES // (atoms * x.element_size())))
    scores = empty_on_huge_pages((block, atoms), x.dtype)
    selection, tolerance = _SELECTION[policy.selection], -1.0 if policy.tolerance is None else policy.tolerance
    for low in range(0, batch, block):
        rows = slice(low, min(low + block, batch))
        block_scores = correlations(x[rows], dictionary, out=scores[: rows.stop - low])
        arrays = (block_scores, _whole_rows(gram), dictionary, indices[rows], values[rows], residual[rows])
        rounds = partial(_pursue_rows, *(array.numpy() for array in arrays), selection, policy.stops, tolerance)
        _in_parallel(rounds, len(block_scores), _ROWS_A_TASK)
    return indices, values, residual


def reverse(
    dictionary: Tensor, indices: Tensor, values: Tensor, residual: Tensor, grad_values: Tensor, grad_residual: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and of the dictionary; see `isoenergy.pursuit.reverse`.

    The first pass goes by rows and finds the coefficients' gradients. The second goes by blocks of columns, each of
    which one thread sums in the order of the rows: no atomics, no copy of the gradient a thread, one result.
    """
    grad_x = torch.empty_like(residual)
    weights = torch.empty_like(values)
    grad_dictionary = torch.zeros_like(dictionary)
    atoms, index, value, rest = (t.numpy() for t in (dictionary, indices, values, residual))
    by_value, by_residual = (grad.contiguous().numpy() for grad in (grad_values, grad_residual))
    to_x, weight, to_atoms = grad_x.numpy(), weights.numpy(), grad_dictionary.numpy()
    by_row = partial(_coefficient_gradients, atoms, index, by_value, by_residual, to_x, weight)
    _in_parallel(by_row, len(indices), _ROWS_A_TASK)
    by_column = partial(_atom_gradients, atoms, index, value, weight, rest, by_residual, to_atoms)
    _in_parallel(by_column, dictionary.shape[1], _COLUMNS_A_TASK)
    return grad_x, grad_dictionary


def _whole_rows(gram: Tensor) -> Tensor:
    """Return `gram` with its rows' padding, so that the kernel sees one contiguous array."""
    atoms, stride = len(gram), gram.stride(0)
    room = gram.untyped_storage().nbytes() // gram.element_size() - gram.storage_offset()
    if gram.stride(1) != 1 or stride < atoms or room < atoms * stride:
        return gram.contiguous()
    return gram.as_strided((atoms, stride), (stride, 1))


def _in_parallel(task: Callable[[int, int], None], count: int, size: int) -> None:
    """Call `task(first, last)` for every `size` of `count` on torch's number of threads; they take turns as free."""
    starts = range(0, count, size)
    threads = min(torch.get_num_threads(), len(starts))
    if threads <= 1:
        task(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first: task(first, min(first + size, count)), starts))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` at its first call; keep the code between processes where a folder can be written."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"nnan", "nsz", "contract", "reassoc"},  # reassoc: sums and maxima in vector registers
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(**options)(function)


@intrinsic
def _larger(_context: Any, a: Any, _b: Any) -> Any:
    """`max(a, b)` in one instruction; Python's own, with its rules for NaN, keeps LLVM from using vectors."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.maxnum", [kind], ir.FunctionType(kind, [kind, kind]))
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return a(a, a), emit


@intrinsic
def _prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]`, into the second-level cache, without waiting for it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, arguments[0])
        pointer = cgutils.get_item_pointer(context, builder, array_type, view, [arguments[1]])
        address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, second_level, data = word(0), word(2), word(1)
        builder.call(function, [address, read, second_level, data])
        return context.get_dummy_value()

    return types.void(array, index), emit


@_compiled
def _subtract_and_find(scores, gram_row, value, next_row, absolute):  # type: ignore[no-untyped-def]
    """Subtract `value * gram_row` from `scores` and return the place of the first maximum, in one pass.

    `next_row` is what the next call will read: prefetched meanwhile.
    """
    atoms = scores.shape[0]
    line = _CACHE_LINE_BYTES // scores.itemsize
    best_start = 0
    best = scores.dtype.type(-np.inf)
    for start in range(0, atoms, _CHUNK):
        stop = min(start + _CHUNK, atoms)
        for place in range(start, stop, line):
            _prefetch(next_row, place)
        chunk, subtrahend = scores[start:stop], gram_row[start:stop]
        largest = scores.dtype.type(-np.inf)
        if absolute:
            for i in range(stop - start):
                score = chunk[i] - value * subtrahend[i]
                chunk[i] = score
                largest = _larger(largest, abs(score))
        else:
            for i in range(stop - start):
                score = chunk[i] - value * subtrahend[i]
                chunk[i] = score
                largest = _larger(largest, score)
        if largest > best:
            best, best_start = largest, start
    chunk = scores[best_start : min(best_start + _CHUNK, atoms)]
    place = _CHUNK
    if absolute:
        for i in range(chunk.shape[0]):
            place = min(place, i if abs(chunk[i]) == best else _CHUNK)
    else:
        for i in range(chunk.shape[0]):
            place = min(place, i if chunk[i] == best else _CHUNK)
    return min(best_start + place, atoms - 1)  # an overflow to NaN equals nothing: stay inside all the same


@_compiled
def _pursue_rows(  # type: ignore[no-untyped-def]
    scores, gram, dictionary, indices, values, residual, selection, stops, tolerance, first, last
):
    """Pursue rows `first` to `last`, two at a time: while one is worked on, the other's row of G is on its way."""
    dim, k = dictionary.shape[1], indices.shape[1]
    absolute = selection == _ABSOLUTE
    best = np.zeros(2, np.int64)
    for pair in range(first, last, 2):
        pair_end = min(pair + 2, last)
        for row in range(pair, pair_end):
            best[row - pair] = _subtract_and_find(scores[row], scores[row], scores.dtype.type(0), scores[row], absolute)
        for step in range(k):
            for row in range(pair, pair_end):
                atom_index = best[row - pair]
                if atom_index == _STOPPED:
                    continue
                value, rest = scores[row, atom_index], residual[row]
                if stops:
                    enough = selection == _NON_NEGATIVE and value <= 0
                    if tolerance >= 0 and not enough:
                        square = scores.dtype.type(0)
                        for i in range(dim):
                            square += rest[i] * rest[i]
                        enough = square <= tolerance * tolerance
                    if enough:
                        best[row - pair] = _STOPPED
                        indices[row, step:] = _STOPPED
                        values[row, step:] = 0
                        continue
                indices[row, step] = atom_index
                values[row, step] = value
                atom = dictionary[atom_index]
                for i in range(dim):
                    rest[i] -= value * atom[i]
                if step + 1 < k:
                    other = best[1 - (row - pair)]
                    next_row = gram[max(other, 0)]
                    best[row - pair] = _subtract_and_find(scores[row], gram[atom_index], value, next_row, absolute)


@_compiled
def _coefficient_gradients(  # type: ignore[no-untyped-def]
    dictionary, indices, grad_values, grad_residual, grad_x, weights, first, last
):
    """Walk rows `first` to `last` backwards through their rounds: the coefficients' gradients and those of x."""
    dim = dictionary.shape[1]
    for row in range(first, last):
        grad = grad_x[row]
        grad[:] = grad_residual[row]
        for step in range(indices.shape[1] - 1, -1, -1):
            if indices[row, step] == _STOPPED:
                weights[row, step] = 0
                continue
            atom = dictionary[indices[row, step]]
            product = dictionary.dtype.type(0)
            for i in range(dim):
                product += grad[i] * atom[i]
            weight = grad_values[row, step] - product
            weights[row, step] = weight
            for i in range(dim):
                grad[i] += weight * atom[i]


@_compiled
def _atom_gradients(  # type: ignore[no-untyped-def]
    dictionary, indices, values, weights, residual, grad_residual, grad_dictionary, first, last
):
    """Sum columns `first` to `last` of the dictionary's gradient over all rows, in their order."""
    width = last - first
    restored = np.empty(width, dictionary.dtype)
    grad = np.empty(width, dictionary.dtype)
    for row in range(indices.shape[0]):
        restored[:] = residual[row, first:last]
        grad[:] = grad_residual[row, first:last]
        for step in range(indices.shape[1] - 1, -1, -1):
            index = indices[row, step]
            if index == _STOPPED:
                continue
            weight, value = weights[row, step], values[row, step]
            atom, total = dictionary[index, first:last], grad_dictionary[index, first:last]
            for i in range(width):
                before = restored[i] + value * atom[i]
                total[i] += weight * before - value * grad[i]
                restored[i] = before
                grad[i] += weight * atom[i]
