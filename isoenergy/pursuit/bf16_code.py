"""Machine operations of the screen's kernels: rows of bf16 numbers, as uint16, and float32 ones, in 512 bits.

All arrays are two-dimensional, contiguous and, but for bf16 rows, float32. They are given whole, with a row's number: a
view of a row costs numba two atomic operations, and a round takes a dozen. On narrower machines the operations come in
halves or quarters. Each is written out so that its sums have one order, wherever it is called from.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from isoenergy.pursuit.vector_code import address_of, emit_prefetch, in_all_lanes

PANEL = 256
"""Scores in one call of `subtract_bf16_panel`."""
MASK = 64
"""Scores in one call of `at_least`."""
LINE = 64
"""Numbers that the length of a residual, and of an atom, is a multiple of."""

_LANES = 16
_WORD = ir.IntType(32)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _LANES)
_WORDS = ir.VectorType(_WORD, _LANES)
_HALVES = ir.VectorType(ir.IntType(16), _LANES)


def _subtraction(absolute: bool) -> Any:
    @intrinsic
    def subtract_bf16_panel(
        _context: Any, scores: Any, row: Any, start: Any, value: Any, gram: Any, atom: Any, following: Any, after: Any
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            scores_, row_, start_, value_, gram_, atom_, following_, after_ = arguments
            minus_value = in_all_lanes(builder, builder.fneg(value_), _VECTOR)
            strengths, entries = [], []
            for offset in range(0, PANEL, _LANES):
                place = builder.add(start_, start_.type(offset))
                if offset % (2 * _LANES) == 0:  # a cache line
                    emit_prefetch(builder, address_of(context, builder, following, following_, after_, place))
                entry = _widened(builder, _load(context, builder, gram, gram_, atom_, place, _HALVES, 2))
                before = _load(context, builder, scores, scores_, row_, place)
                remaining = _call(builder, "fma", [minus_value, entry, before])
                _store(context, builder, scores, scores_, row_, place, remaining)
                strengths.append(_call(builder, "fabs", [remaining]) if absolute else remaining)
                entries.append(_call(builder, "fabs", [entry]))
            pair = [_largest(builder, vectors) for vectors in (strengths, entries)]
            return context.make_tuple(builder, signature.return_type, pair)

        return types.UniTuple(types.float32, 2)(scores, row, start, value, gram, atom, following, after), emit

    return subtract_bf16_panel


subtract_bf16_panel = _subtraction(absolute=False)
"""`scores[row, start:] -= value * gram[atom, start:]` for `PANEL` numbers of a bf16 row.

Returns the largest score and the largest magnitude of `gram`, and prefetches that part of `following[after]`.
"""
subtract_bf16_panel_absolute = _subtraction(absolute=True)
"""As `subtract_bf16_panel`, but returns the largest magnitude of a score."""


def _comparison(absolute: bool) -> Any:
    @intrinsic
    def at_least(_context: Any, scores: Any, row: Any, start: Any, least: Any) -> Any:
        def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            scores_, row_, start_, least_ = arguments
            mask = ir.IntType(MASK)
            wanted, found = in_all_lanes(builder, least_, _VECTOR), mask(0)
            for offset in range(0, MASK, _LANES):
                values = _load(context, builder, scores, scores_, row_, builder.add(start_, start_.type(offset)))
                if absolute:
                    values = _call(builder, "fabs", [values])
                reach = builder.bitcast(builder.fcmp_unordered(">=", values, wanted), ir.IntType(_LANES))
                found = builder.or_(found, builder.shl(builder.zext(reach, mask), mask(offset)))
            return found

        return types.uint64(scores, row, start, least), emit

    return at_least


at_least = _comparison(absolute=False)
"""The bits of those of `scores[row, start : start + MASK]` that are at least `least`, or not a number."""
at_least_absolute = _comparison(absolute=True)
"""As `at_least`, of magnitudes."""


def _lowest_bit(_context: Any, bits: Any) -> Any:  # noqa: ARG001  # numba gives it by name
    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), emit


lowest_bit: Any = intrinsic(_lowest_bit)
"""The place of the lowest bit that is set in a uint64 that is not 0."""


def _dot(_context: Any, left: Any, row: Any, right: Any, other: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        left_, row_, right_, other_ = arguments
        sums = [cgutils.alloca_once_value(builder, _zeros()) for _ in range(0, LINE, _LANES)]
        with _EachLine(context, builder, left, left_) as start:
            for total, offset in zip(sums, range(0, LINE, _LANES), strict=True):
                place = builder.add(start, start.type(offset))
                first = _load(context, builder, left, left_, row_, place)
                second = _load(context, builder, right, right_, other_, place)
                builder.store(_call(builder, "fma", [first, second, builder.load(total)]), total)
        return _sum(builder, [builder.load(total) for total in sums])

    return types.float32(left, row, right, other), emit


dot: Any = intrinsic(_dot)
"""The inner product of `left[row]` and `right[other]`, a multiple of `LINE` numbers long."""


def _take(_context: Any, residual: Any, error: Any, row: Any, dictionary: Any, atom: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        residual_, error_, row_, dictionary_, atom_, value_ = arguments
        minus_value = in_all_lanes(builder, builder.fneg(value_), _VECTOR)
        totals = [[cgutils.alloca_once_value(builder, _zeros()) for _ in range(2)] for _ in range(3)]
        with _EachLine(context, builder, residual, residual_) as start:
            for offset in range(0, LINE, _LANES):
                place = builder.add(start, start.type(offset))
                numbers = _load(context, builder, dictionary, dictionary_, atom_, place)
                rounded = _rounded_to_bf16(builder, numbers)
                squared = [rounded]
                for array, step in ((error_, builder.fsub(rounded, numbers)), (residual_, numbers)):
                    before = _load(context, builder, residual, array, row_, place)
                    after = _call(builder, "fma", [minus_value, step, before])
                    _store(context, builder, residual, array, row_, place, after)
                    squared.insert(0, after)
                for vector, pair in zip(squared, totals, strict=True):
                    total = pair[offset // _LANES % 2]
                    builder.store(_call(builder, "fma", [vector, vector, builder.load(total)]), total)
        squares = [_sum(builder, [builder.load(total) for total in pair]) for pair in totals]
        return context.make_tuple(builder, signature.return_type, squares)

    return types.UniTuple(types.float32, 3)(residual, error, row, dictionary, atom, value), emit


take: Any = intrinsic(_take)
"""Subtract `value * dictionary[atom]` from `residual[row]`, and `value` times its rounding's change from `error[row]`.

Returns the sums of squares of both rows and of the rounded atom. All are a multiple of `LINE` numbers long.
"""


def _prefetch_line(_context: Any, array: Any, row: Any, start: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit_prefetch(builder, address_of(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return types.void(array, row, start), emit


prefetch_line: Any = intrinsic(_prefetch_line)
"""Ask for the cache line of `array[row, start]`, without waiting for it."""


class _EachLine:
    """A loop over the starts of the lines of an array's rows; the code inside is emitted once."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        view = context.make_array(kind)(context, builder, array)
        count = cgutils.unpack_tuple(builder, view.shape, 2)[1]
        self._loop = cgutils.for_range_slice(builder, count.type(0), count, count.type(LINE), count.type)

    def __enter__(self) -> Any:
        return self._loop.__enter__()[0]

    def __exit__(self, *problem: Any) -> None:
        self._loop.__exit__(*problem)


def _zeros() -> Any:
    return ir.Constant(_VECTOR, [0.0] * _LANES)


def _load(
    context: Any, builder: Any, kind: Any, array: Any, row: Any, place: Any, vector: Any = _VECTOR, align: int = 4
) -> Any:
    pointer = address_of(context, builder, kind, array, row, place)
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=align)


def _store(context: Any, builder: Any, kind: Any, array: Any, row: Any, place: Any, numbers: Any) -> None:
    pointer = address_of(context, builder, kind, array, row, place)
    builder.store(numbers, builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)


def _call(builder: Any, name: str, operands: Sequence[Any], result: Any = _VECTOR, flags: tuple[str, ...] = ()) -> Any:
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{_LANES}f32")
    return builder.call(function, operands, fastmath=flags)


def _widened(builder: Any, halves: Any) -> Any:
    words = builder.zext(halves, _WORDS)
    return builder.bitcast(builder.shl(words, _WORDS([16] * _LANES)), _VECTOR)


def _rounded_to_bf16(builder: Any, numbers: Any) -> Any:
    """Round to nearest, ties to even, as torch does."""
    bits = builder.bitcast(numbers, _WORDS)
    odd = builder.and_(builder.lshr(bits, _WORDS([16] * _LANES)), _WORDS([1] * _LANES))
    raised = builder.add(builder.add(bits, _WORDS([0x7FFF] * _LANES)), odd)
    return builder.bitcast(builder.and_(raised, _WORDS([0xFFFF0000] * _LANES)), _VECTOR)


def _in_pairs(vectors: list[Any], join: Any) -> Any:
    while len(vectors) > 1:
        vectors = [join(*pair) for pair in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _largest(builder: Any, vectors: list[Any]) -> Any:
    flags = ("nnan", "nsz")
    vector = _in_pairs(vectors, lambda *pair: _call(builder, "maxnum", pair, flags=flags))
    return _call(builder, "vector.reduce.fmax", [vector], _FLOAT, flags)


def _sum(builder: Any, vectors: list[Any]) -> Any:
    vector = _in_pairs(vectors, builder.fadd)
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (ir.Constant(ir.VectorType(_WORD, half), list(range(first, first + half))) for first in (0, half))
        vector = builder.fadd(*(builder.shuffle_vector(vector, vector, places) for places in (low, high)))
    return builder.extract_element(vector, _WORD(0))
