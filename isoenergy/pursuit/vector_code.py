"""Machine operations of the CPU kernels that no loop in numba compiles to, as numba intrinsics.

Left to itself LLVM takes half of a 512-bit machine's vectors for a loop and reduces its maximum so often that the
rounds wait for arithmetic, not for memory. On narrower machines the same operations come in halves or quarters.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

PANEL_LINES = 8  # cache lines of scores in one call of `subtract_panel`

TILE = 16
"""Numbers a side in one call of `transpose_tile`."""

_LINE_BITS = 512
_WORD = ir.IntType(32)
_BYTE_ADDRESS = ir.IntType(8).as_pointer()


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]`, into the second-level cache, without waiting for it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emit_prefetch(builder, address_of(context, builder, signature.args[0], *arguments))
        return context.get_dummy_value()

    return types.void(array, index), emit


def _subtraction(absolute: bool) -> Any:
    @intrinsic
    def subtract_panel(_context: Any, scores: Any, start: Any, value: Any, gram_row: Any, next_row: Any) -> Any:
        def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            scores_, start_, value_, gram_row_, next_row_ = arguments
            bits = scores.dtype.bitwidth
            lanes = _LINE_BITS // bits
            number = {32: ir.FloatType(), 64: ir.DoubleType()}[bits]
            vector = ir.VectorType(number, lanes)

            def address(kind: Any, array: Any, line: int) -> Any:
                place = builder.add(start_, start_.type(line * lanes))
                return address_of(context, builder, kind, array, place)

            def load(kind: Any, array: Any, line: int) -> Any:
                pointer = builder.bitcast(address(kind, array, line), vector.as_pointer())
                return builder.load(pointer, align=bits // 8)

            def operation(name: str, *operands: Any, result: Any = vector) -> Any:
                kind = ir.FunctionType(result, [operand.type for operand in operands])
                function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{lanes}f{bits}")
                return builder.call(function, operands, fastmath=("nnan", "nsz"))

            minus_value = in_all_lanes(builder, builder.fneg(value_), vector)
            strengths = []
            for line in range(PANEL_LINES):
                emit_prefetch(builder, address(next_row, next_row_, line))
                subtrahend, before = load(gram_row, gram_row_, line), load(scores, scores_, line)
                after = operation("fmuladd", minus_value, subtrahend, before)
                target = builder.bitcast(address(scores, scores_, line), vector.as_pointer())
                builder.store(after, target, align=bits // 8)
                strengths.append(operation("fabs", after) if absolute else after)
            while len(strengths) > 1:
                pairs = zip(strengths[::2], strengths[1::2], strict=True)
                strengths = [operation("maxnum", *pair) for pair in pairs]
            return operation("vector.reduce.fmax", *strengths, result=number)

        return scores.dtype(scores, start, value, gram_row, next_row), emit

    return subtract_panel


subtract_panel = _subtraction(absolute=False)
"""`scores[start:] -= value * gram_row[start:]` for `PANEL_LINES` cache lines; returns their maximum.

Prefetches the same lines of `next_row`. All are one-dimensional of one dtype, float32 or float64, and long enough.
"""
subtract_panel_absolute = _subtraction(absolute=True)
"""As `subtract_panel`, but returns the maximum of absolute values."""


def _search(absolute: bool) -> Any:
    @intrinsic
    def find_in_panel(_context: Any, scores: Any, start: Any, strength: Any) -> Any:
        def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            scores_, start_, strength_ = arguments
            bits = scores.dtype.bitwidth
            lanes = _LINE_BITS // bits
            vector = ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[bits], lanes)
            mask = ir.IntType(PANEL_LINES * lanes)
            wanted, found = in_all_lanes(builder, strength_, vector), mask(0)
            for line in range(PANEL_LINES):
                place = builder.add(start_, start_.type(line * lanes))
                address = address_of(context, builder, scores, scores_, place)
                values = builder.load(builder.bitcast(address, vector.as_pointer()), align=bits // 8)
                if absolute:
                    kind = ir.FunctionType(vector, [vector])
                    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{lanes}f{bits}")
                    values = builder.call(function, [values])
                equal = builder.bitcast(builder.fcmp_ordered("==", values, wanted), ir.IntType(lanes))
                found = builder.or_(found, builder.shl(builder.zext(equal, mask), mask(line * lanes)))
            first, place_type = builder.cttz(found, ir.IntType(1)(0)), context.get_value_type(types.intp)
            return first if mask.width == place_type.width else builder.trunc(first, place_type)

        return types.intp(scores, start, strength), emit

    return find_in_panel


find_in_panel = _search(absolute=False)
"""The place in `scores[start:]` of the first number that equals `strength`, among those of `PANEL_LINES` cache lines.

Where none does, it is the number of places in those lines.
"""
find_in_panel_absolute = _search(absolute=True)
"""As `find_in_panel`, of absolute values."""


def _transpose(_context: Any, matrix: Any, row: Any, column: Any) -> Any:
    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        matrix_, row_, column_ = arguments
        number = ir.IntType(matrix.dtype.bitwidth)
        lines = ir.VectorType(number, TILE)

        def pointer(line: Any, place: Any, offset: int) -> Any:
            address = address_of(context, builder, matrix, matrix_, builder.add(line, line.type(offset)), place)
            return builder.bitcast(address, lines.as_pointer())

        tile = [builder.load(pointer(row_, column_, line), align=number.width // 8) for line in range(TILE)]
        zipped = [[lane // 2 + lane % 2 * TILE for lane in range(2 * half, 2 * half + TILE)] for half in (0, TILE // 2)]
        for _ in range(TILE.bit_length() - 1):  # each turn moves one bit of a number's row to its column
            tile = [
                builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_WORD, TILE), places))
                for pair in zip(tile[: TILE // 2], tile[TILE // 2 :], strict=True)
                for places in zipped
            ]
        for line, numbers in enumerate(tile):
            builder.store(numbers, pointer(column_, row_, line), align=number.width // 8)
        return context.get_dummy_value()

    return types.void(matrix, row, column), emit


transpose_tile: Any = intrinsic(_transpose)
"""Write `matrix[row : row + TILE, column : column + TILE]`, transposed, to `matrix[column:, row:]`; of any numbers."""


def address_of(context: Any, builder: Any, kind: Any, array: Any, *index: Any) -> Any:
    """Emit the address of `array[index]`, of an array of numba type `kind`."""
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, index)


def emit_prefetch(builder: Any, address: Any) -> None:
    """Emit what `prefetch` is."""
    kind = ir.FunctionType(ir.VoidType(), [_BYTE_ADDRESS, _WORD, _WORD, _WORD])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    read, second_level, data = _WORD(0), _WORD(2), _WORD(1)
    builder.call(function, [builder.bitcast(address, _BYTE_ADDRESS), read, second_level, data])


def in_all_lanes(builder: Any, number: Any, vector: Any) -> Any:
    """Emit a vector of type `vector` that has `number` in each lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    every_lane_first = ir.Constant(ir.VectorType(_WORD, vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(undefined, number, _WORD(0)), undefined, every_lane_first)
