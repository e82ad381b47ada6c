"""The CPU form: correlations by one matrix product, then rounds on a row of them that stays in cache.

Subtracting an atom from a residual changes its correlation with every atom by a multiple of a row of the Gram matrix
G = D Dᵀ: c ← c - v G[j]. A round reads `atoms` numbers, where a matrix product would read `atoms × dim`. The kernels
are compiled by numba when first called, hence no compiler at installation, and run without the GIL on as many threads
as torch has. Results do not depend on the number of threads.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from isoenergy.compiling.compiled import compiled
from isoenergy.compiling.threads import in_parallel
from isoenergy.pursuit.gram import correlations, empty_on_huge_pages
from isoenergy.pursuit.policy import PursuitPolicy
from isoenergy.pursuit.vector_code import (
    PANEL_LINES,
    find_in_panel,
    find_in_panel_absolute,
    prefetch,
    subtract_panel,
    subtract_panel_absolute,
)

_BLOCK_BYTES = 2**26  # of correlations at a time
_ROWS_A_TASK = 32
_COLUMNS_A_TASK = 64

_CACHE_LINE_BYTES = 64
_STOPPED = -1


def pursue(x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the pursuit on checked arguments: indices (int32, -1 where a row had stopped), values and residual."""
    batch, atoms = len(x), len(dictionary)
    indices = torch.empty(batch, k, dtype=torch.int32)
    values, residual = x.new_empty(batch, k), x.new_empty(x.shape)
    if not batch:
        return indices, values, residual
    block = max(2, min(batch, _BLOCK_BYTES // (atoms * x.element_size())))
    scores = empty_on_huge_pages((block, atoms), x.dtype)
    absolute = policy.selection == "absolute"
    floor = 0.0 if policy.selection == "non-negative" else -np.inf
    tolerance = -1.0 if policy.tolerance is None else policy.tolerance
    for low in range(0, batch, block):
        rows = slice(low, min(low + block, batch))
        block_scores = correlations(x[rows], dictionary, out=scores[: rows.stop - low])
        arrays = (x[rows], block_scores, _whole_rows(gram), dictionary, indices[rows], values[rows], residual[rows])
        rounds = partial(_pursue_rows, *(array.numpy() for array in arrays), absolute, floor, policy.stops, tolerance)
        in_parallel(rounds, len(block_scores), _ROWS_A_TASK)
    return indices, values, residual


def reverse(
    dictionary: Tensor,
    indices: Tensor,
    values: Tensor,
    residual: Tensor,
    grad_values: Tensor,
    grad_residual: Tensor,
    wants_x: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of x, None if it is not wanted, and of the dictionary; see `isoenergy.pursuit.reverse`.

    One thread does all in one pass over the rows. Several make two: the first goes by rows and finds the coefficients'
    gradients, the second by blocks of columns, each of which one thread sums in the order of the rows: no atomics, no
    copy of the gradient a thread, and bit for bit the result of the one pass.
    """
    one_thread = torch.get_num_threads() == 1
    grad_x = torch.empty_like(residual if wants_x or not one_thread else residual[:1])
    weights = torch.empty_like(values)
    grad_dictionary = torch.zeros_like(dictionary)
    atoms, index, value, rest = (t.numpy() for t in (dictionary, indices, values, residual))
    by_value, by_residual = (grad.contiguous().numpy() for grad in (grad_values, grad_residual))
    to_x, weight, to_atoms = grad_x.numpy(), weights.numpy(), grad_dictionary.numpy()
    if one_thread:
        _all_gradients(atoms, index, value, rest, by_value, by_residual, to_x, to_atoms)
        return grad_x if wants_x else None, grad_dictionary
    by_row = partial(_coefficient_gradients, atoms, index, by_value, by_residual, to_x, weight)
    in_parallel(by_row, len(indices), _ROWS_A_TASK)
    by_column = partial(_atom_gradients, atoms, index, value, weight, rest, by_residual, to_atoms)
    in_parallel(by_column, dictionary.shape[1], _COLUMNS_A_TASK)
    return grad_x if wants_x else None, grad_dictionary


def _whole_rows(gram: Tensor) -> Tensor:
    """Return `gram` with its rows' padding, so that the kernel sees one contiguous array."""
    atoms, stride = len(gram), gram.stride(0)
    room = gram.untyped_storage().nbytes() // gram.element_size() - gram.storage_offset()
    if gram.stride(1) != 1 or stride < atoms or room < atoms * stride:
        return gram.contiguous()
    return gram.as_strided((atoms, stride), (stride, 1))


@compiled
def _subtract_and_find(scores, gram_row, value, next_row, absolute):  # type: ignore[no-untyped-def]  # numba finds the types
    """Subtract `value * gram_row` from `scores` and return the place of the first maximum, in one pass.

    `next_row` is what the next call will read: prefetched meanwhile.
    """
    atoms, panel = scores.shape[0], PANEL_LINES * (_CACHE_LINE_BYTES // scores.itemsize)
    best_start, best = 0, scores.dtype.type(-np.inf)
    whole_panels = atoms - atoms % panel
    for start in range(0, whole_panels, panel):
        if absolute:
            strongest = subtract_panel_absolute(scores, start, value, gram_row, next_row)
        else:
            strongest = subtract_panel(scores, start, value, gram_row, next_row)
        if strongest > best:
            best, best_start = strongest, start
    best_is_in_panel = whole_panels > 0
    for place in range(whole_panels, atoms):
        scores[place] -= value * gram_row[place]
        strength = abs(scores[place]) if absolute else scores[place]
        if strength > best:
            best, best_start, best_is_in_panel = strength, place, False
    if best_is_in_panel:
        if absolute:
            place = find_in_panel_absolute(scores, best_start, best)
        else:
            place = find_in_panel(scores, best_start, best)
        if place < panel:
            return best_start + place
    return best_start  # an overflow to NaN equals nothing


@compiled
def _is_enough(value, residual, floor, tolerance):  # type: ignore[no-untyped-def]  # numba finds the types
    """Return whether a row ends before its next round: no atom is strong enough, or little is left to explain."""
    if value <= floor:
        return True
    if tolerance < 0:
        return False
    square = residual.dtype.type(0)
    for i in range(residual.shape[0]):
        square += residual[i] * residual[i]
    return square <= tolerance * tolerance


@compiled
def _pursue_rows(  # type: ignore[no-untyped-def]  # numba finds the types
    x, scores, gram, dictionary, indices, values, residual, absolute, floor, stops, tolerance, first, last
):
    """Pursue rows `first` to `last`, two at a time: while one is worked on, the other's row of G is on its way."""
    dim, k = dictionary.shape[1], indices.shape[1]
    best = np.zeros(2, np.int64)
    for pair in range(first, last, 2):
        pair_end = min(pair + 2, last)
        best[0] = 0
        for row in range(pair, pair_end):
            residual[row] = x[row]
            line, next_row = scores[row], gram[best[0]]
            best[row - pair] = _subtract_and_find(line, line, scores.dtype.type(0), next_row, absolute)
        for step in range(k):
            for row in range(pair, pair_end):
                atom_index = best[row - pair]
                if atom_index == _STOPPED:
                    continue
                value, rest = scores[row, atom_index], residual[row]
                if stops and _is_enough(value, rest, floor, tolerance):
                    best[row - pair] = _STOPPED
                    indices[row, step:] = _STOPPED
                    values[row, step:] = 0
                    continue
                indices[row, step] = atom_index
                values[row, step] = value
                atom = dictionary[atom_index]
                for i in range(0, dim, _CACHE_LINE_BYTES // dictionary.itemsize):
                    prefetch(atom, i)  # type: ignore[call-arg]  # numba gives the first one
                if step + 1 < k:
                    next_row = gram[max(best[1 - (row - pair)], 0)]
                    best[row - pair] = _subtract_and_find(scores[row], gram[atom_index], value, next_row, absolute)
                for i in range(dim):
                    rest[i] -= value * atom[i]


@compiled
def _coefficient_gradients(  # type: ignore[no-untyped-def]  # numba finds the types
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


@compiled
def _atom_gradients(  # type: ignore[no-untyped-def]  # numba finds the types
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


@compiled
def _all_gradients(  # type: ignore[no-untyped-def]  # numba finds the types
    dictionary, indices, values, residual, grad_values, grad_residual, grad_x, grad_dictionary
):
    """Walk all rows backwards through their rounds: both passes of several threads in one.

    `grad_x` has all rows, or a single one that they share.
    """
    dim = dictionary.shape[1]
    restored = np.empty(dim, dictionary.dtype)
    for row in range(indices.shape[0]):
        grad = grad_x[min(row, len(grad_x) - 1)]
        grad[:] = grad_residual[row]
        restored[:] = residual[row]
        for step in range(indices.shape[1] - 1, -1, -1):
            if indices[row, step] == _STOPPED:
                continue
            index, value = np.uint32(indices[row, step]), values[row, step]
            product = dictionary.dtype.type(0)
            for i in range(dim):
                product += grad[i] * dictionary[index, i]
            weight = grad_values[row, step] - product
            for i in range(dim):
                atom = dictionary[index, i]
                before = restored[i] + value * atom
                grad_dictionary[index, i] += weight * before - value * grad[i]
                restored[i] = before
                grad[i] += weight * atom
