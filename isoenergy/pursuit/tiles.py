"""Mirroring a matrix by tiles that stay in registers; a kernel of numba, which takes a second to load."""

from isoenergy.compiling.compiled import compiled
from isoenergy.pursuit.vector_code import TILE, transpose_tile


@compiled
def mirror(matrix, low, high, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    """Write columns `low` to `high` above the diagonal as rows, for the matrix's rows `first` to `last` of them."""
    for row in range(first, last, TILE):
        for column in range(low, high, TILE):
            row_end, column_end = min(row + TILE, last), min(column + TILE, high)
            if row_end - row == TILE == column_end - column and row_end <= column:
                transpose_tile(matrix, row, column)
            else:
                for to in range(column, column_end):
                    for place in range(row, min(row_end, to)):
                        matrix[to, place] = matrix[place, to]
