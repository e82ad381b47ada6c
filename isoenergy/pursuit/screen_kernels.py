"""The rounds of the screen on rows of scores that stay in cache; `isoenergy.pursuit.screen` has what they rest on.

Arrays of rows in flight are given whole, with a row's number p: see `isoenergy.pursuit.bf16_code`.
"""

import numpy as np

from isoenergy.compiling.compiled import compiled_exactly
from isoenergy.pursuit.bf16_code import (
    MASK,
    PANEL,
    at_least,
    at_least_absolute,
    dot,
    lowest_bit,
    prefetch_line,
    subtract_bf16_panel,
    subtract_bf16_panel_absolute,
    take,
)

_BF16_ROUNDING = np.float32(2.0**-8)  # of a number, at most, times its magnitude
_UNDERFLOW = 2.0**-120  # more than what an operation loses that vanishes
_OVERFLOW = 1e38  # scores beyond it are trusted no more
_IN_FLIGHT = 8
_MOST = 32  # candidates that are listed
_EXPECTED = 0.25  # of what an error may be: more than it is
_NUMBERS_A_LINE = 16
_SQUARE, _NORM, _LOST, _ROUNDING = range(4)  # of a row's measures: ‖r‖² as computed, ‖r‖, ‖δ‖ and a
_STOPPED = -1


@compiled_exactly
def atom_bounds(dictionary):  # type: ignore[no-untyped-def]  # numba finds the types
    """Return M and Δ: the largest norm of an atom, as it is or rounded, and the largest of what rounding changes."""
    width = dictionary.shape[1]
    nothing, lost = np.zeros((1, width), np.float32), np.zeros((1, width), np.float32)
    largest, changed = 0.0, 0.0
    for atom in range(dictionary.shape[0]):
        nothing[:] = 0
        lost[:] = 0
        squares = take(nothing, lost, 0, dictionary, atom, np.float32(-1))
        largest = max(largest, _norm(squares[0], width), _norm(squares[2], width))
        changed = max(changed, _norm(squares[1], width))
    return largest, changed


@compiled_exactly
def _norm(square, width):  # type: ignore[no-untyped-def]  # numba finds the types
    """Return the root of a sum of `width` squares, with what may have vanished of them."""
    return np.sqrt(np.float64(square) + width * _UNDERFLOW)


@compiled_exactly
def _subtract(scores, p, tops, spread, value, gram, atom, following, after, absolute):  # type: ignore[no-untyped-def]
    """Subtract a row of G: `tops` become the panels' largest strengths, and `spread` grows by what G's rounding may."""
    for panel in range(tops.shape[1]):
        start = panel * PANEL
        if absolute:
            top, entry = subtract_bf16_panel_absolute(scores, p, start, value, gram, atom, following, after)
        else:
            top, entry = subtract_bf16_panel(scores, p, start, value, gram, atom, following, after)
        tops[p, panel] = top
        spread[p, panel] += abs(value) * _BF16_ROUNDING * entry


@compiled_exactly
def _list_candidates(  # type: ignore[no-untyped-def]  # numba finds the types
    listed, scores, p, tops, spread, common, inflation, dictionary, absolute
):
    """List the atoms that are likely to be candidates, the strongest first, and ask for them.

    Returns how many, and the product from which on that of the strongest leaves no others. If they do not fit, it is
    the strongest alone, and no product is enough.
    """
    if not common < _OVERFLOW:
        return 0, np.inf
    strongest, is_listed = np.float32(-np.inf), False
    for panel in range(tops.shape[1]):
        strongest = max(strongest, tops[p, panel])
    enough, count = strongest - _EXPECTED * common, 0
    for panel in range(tops.shape[1]):
        least = np.float32(enough - inflation * (common + spread[p, panel]))
        if tops[p, panel] < least:
            continue
        for place in range(panel * PANEL, (panel + 1) * PANEL, MASK):
            found = at_least_absolute(scores, p, place, least) if absolute else at_least(scores, p, place, least)
            while found:
                atom = place + lowest_bit(found)
                found &= found - np.uint64(1)
                if atom >= dictionary.shape[0]:
                    break
                is_strongest = (abs(scores[p, atom]) if absolute else scores[p, atom]) == strongest
                if count < _MOST:
                    listed[p, count] = atom
                if is_strongest:
                    listed[p, min(count, _MOST - 1)], listed[p, 0] = listed[p, 0], atom
                    is_listed = True
                count += 1
                if count > _MOST and is_listed:
                    return 1, np.inf
                for i in range(0, dictionary.shape[1], _NUMBERS_A_LINE):
                    prefetch_line(dictionary, atom, i)
    return (count, enough) if count <= _MOST else (1, np.inf)


@compiled_exactly
def _choose(  # type: ignore[no-untyped-def]  # numba finds the types
    listed, count, enough, dictionary, rest, scores, p, tops, spread, common, inflation, absolute
):
    """Return the atom that row p of `rest` has the largest float32 product with, the product, and how many it took.

    Those whose score is below the best product so far by more than its error are left out. Comparisons are such that
    errors and scores that are no numbers leave out none.
    """
    best, best_atom, computed = np.float32(-np.inf), np.int64(0), 0
    value = np.float32(np.nan)  # of products that are no numbers none is the largest
    for number in range(count):
        atom = listed[p, number]
        strength = abs(scores[p, atom]) if absolute else scores[p, atom]
        if strength + inflation * (common + spread[p, atom // PANEL]) < best:
            continue
        product = dot(rest, p, dictionary, atom)
        computed += 1
        strength = abs(product) if absolute else product
        if strength > best or (strength == best and atom < best_atom):
            best, best_atom, value = strength, atom, product
    if count > 0 and best >= enough:
        return best_atom, value, computed
    for panel in range(tops.shape[1]):
        for place in range(panel * PANEL, (panel + 1) * PANEL, MASK):
            least = np.float32(best - inflation * (common + spread[p, panel]))
            if tops[p, panel] < least:
                break
            found = at_least_absolute(scores, p, place, least) if absolute else at_least(scores, p, place, least)
            while found:
                atom = place + lowest_bit(found)
                found &= found - np.uint64(1)
                if atom >= dictionary.shape[0]:
                    break
                product = dot(rest, p, dictionary, atom)
                computed += 1
                strength = abs(product) if absolute else product
                if strength > best or (strength == best and atom < best_atom):
                    best, best_atom, value = strength, atom, product
    return best_atom, value, computed


@compiled_exactly
def _measure(measures, p, squares, width):  # type: ignore[no-untyped-def]  # numba finds the types
    measures[p, _SQUARE] = squares[0]
    measures[p, _NORM], measures[p, _LOST] = _norm(squares[0], width), _norm(squares[1], width)


@compiled_exactly
def _begin(scores, p, spread, rest, lost, measures, residual, row, atoms, bounds, padding):  # type: ignore[no-untyped-def]
    """Set a row's scores to nothing, its residual to that of `row`, and its measures to what they are then."""
    largest, _, relative = bounds
    width = rest.shape[1]
    for place in range(scores.shape[1]):
        scores[p, place] = 0 if place < atoms else padding
    spread[p] = 0
    rest[p] = 0
    lost[p] = 0
    _measure(measures, p, take(rest, lost, p, residual, row, np.float32(-1)), width)
    measures[p, _ROUNDING] = 2 * relative * largest * measures[p, _NORM] + 4 * width * _UNDERFLOW


@compiled_exactly
def _take(scores, p, rest, lost, measures, dictionary, atom, value, bounds):  # type: ignore[no-untyped-def]
    """Subtract an atom from a row's residual, and its square from its score; measure what is left."""
    largest, _, relative = bounds
    width = rest.shape[1]
    reach = measures[p, _NORM] + measures[p, _LOST]
    squares = take(rest, lost, p, dictionary, atom, value)
    _measure(measures, p, squares, width)
    reach = largest * (reach + measures[p, _NORM] + measures[p, _LOST])
    size = abs(np.float64(value))
    measures[p, _ROUNDING] += 2 * relative * size * largest**2 + 2.0**-20 * reach + 4 * width * _UNDERFLOW * (1 + size)
    if not reach < _OVERFLOW:
        measures[p, _ROUNDING] = np.inf
    scores[p, atom] -= value * squares[2]


@compiled_exactly
def _common_error(measures, p, bounds):  # type: ignore[no-untyped-def]  # numba finds the types
    largest, changed, relative = bounds
    by_rounding = (changed + 2 * relative * largest) * measures[p, _NORM]
    return largest * measures[p, _LOST] + by_rounding + measures[p, _ROUNDING]


@compiled_exactly
def pursue_rows(  # type: ignore[no-untyped-def]  # numba finds the types
    rows, correlations, gram, dictionary, indices, values, residual, rounds, candidates,
    bounds, inflation, patience, absolute, floor, stops, tolerance, first, last
):  # fmt: skip
    """Pursue `rows[first:last]`, from the round that each is at until it ends or its scores are to be renewed.

    Several are in flight: while one is worked on, the others' rows of G and atoms are on their way.

    rows: the numbers of rows. correlations: `(len(rows), panels · PANEL)` in bf16, of what is left of them.
    indices, values, residual: as of all rows; so are `(batch,)` rounds, how many are done, and candidates, how many
    products were computed.
    bounds: M, Δ and γ. inflation: the factor of all errors. patience: candidates that cost what new scores do.
    """
    atoms, width, k, panels = len(dictionary), dictionary.shape[1], indices.shape[1], correlations.shape[1] // PANEL
    scores = np.empty((_IN_FLIGHT, panels * PANEL), np.float32)
    tops, spread = np.empty((_IN_FLIGHT, panels), np.float32), np.empty((_IN_FLIGHT, panels), np.float32)
    rest, lost = np.empty((_IN_FLIGHT, width), np.float32), np.empty((_IN_FLIGHT, width), np.float32)
    measures = np.empty((_IN_FLIGHT, 4), np.float64)
    common, enough = np.zeros(_IN_FLIGHT, np.float64), np.zeros(_IN_FLIGHT, np.float64)
    listed, count = np.zeros((_IN_FLIGHT, _MOST), np.int64), np.zeros(_IN_FLIGHT, np.int64)
    chosen, coefficient = np.zeros(_IN_FLIGHT, np.int64), np.zeros(_IN_FLIGHT, np.float32)
    usual, spent = np.zeros(_IN_FLIGHT, np.int64), np.zeros(_IN_FLIGHT, np.int64)
    going = np.zeros(_IN_FLIGHT, np.bool_)
    padding = np.float32(0 if absolute else -np.inf)
    for group in range(first, last, _IN_FLIGHT):
        size = left = min(_IN_FLIGHT, last - group)
        for p in range(size):
            _begin(scores, p, spread, rest, lost, measures, residual, rows[group + p], atoms, bounds, padding)
            line, after = group + p, min(group + p + 1, len(rows) - 1)
            _subtract(scores, p, tops, spread, np.float32(-1), correlations, line, correlations, after, absolute)
            common[p] = _common_error(measures, p, bounds)
            count[p], enough[p] = _list_candidates(
                listed, scores, p, tops, spread, common[p], inflation, dictionary, absolute
            )
            going[p], usual[p], spent[p] = True, -1, 0
        waiting = -1  # for its row of G
        p = -1
        while left:
            p = p + 1 if p + 1 < size else 0
            if not going[p]:
                continue
            if waiting != p:
                row = rows[group + p]
                step = rounds[row]
                if measures[p, _SQUARE] == 0 and not rest[p].any():  # every product is 0, and stays so
                    indices[row, step:] = _STOPPED if stops and (floor >= 0 or tolerance >= 0) else 0
                    values[row, step:] = 0
                    rounds[row] = k
                    residual[row] = 0
                    going[p] = False
                    left -= 1
                    continue
                atom, value, computed = _choose(
                    listed,
                    count[p],
                    enough[p],
                    dictionary,
                    rest,
                    scores,
                    p,
                    tops,
                    spread,
                    common[p],
                    inflation,
                    absolute,
                )
                candidates[row] += computed
                if stops and (value <= floor or (tolerance >= 0 and measures[p, _SQUARE] <= tolerance * tolerance)):
                    indices[row, step:] = _STOPPED
                    values[row, step:] = 0
                    rounds[row] = k
                else:
                    indices[row, step], values[row, step] = atom, value
                    _take(scores, p, rest, lost, measures, dictionary, atom, value, bounds)
                    chosen[p], coefficient[p] = atom, value
                    rounds[row] = step + 1
                    usual[p] = computed if usual[p] < 0 else usual[p]
                    spent[p] += computed - usual[p]
                if rounds[row] == k or spent[p] > patience:
                    residual[row] = rest[p]
                    going[p] = False
                    left -= 1
            q = waiting
            waiting = p if going[p] and q != p else -1
            if q >= 0:
                _subtract(scores, q, tops, spread, coefficient[q], gram, chosen[q], gram, chosen[p], absolute)
                common[q] = _common_error(measures, q, bounds)
                count[q], enough[q] = _list_candidates(
                    listed, scores, q, tops, spread, common[q], inflation, dictionary, absolute
                )
