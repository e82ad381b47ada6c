"""Mirroring a matrix by tiles that stay in cache; a kernel of numba, which takes a second to load."""

from isoenergy.compiling.compiled import compiled

TILE = 32  # numbers a side: 32 lines are read by column and written by row


@compiled
def mirror(matrix, low, high, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    """Write columns `low` to `high` above the diagonal as rows, for the matrix's rows `first` to `last` of them."""
    for tile_row in range(first, last, TILE):
        row_end = min(tile_row + TILE, last)
        for tile_column in range(low, high, TILE):
            for column in range(tile_column, min(tile_column + TILE, high)):
                for row in range(tile_row, min(row_end, column)):
                    matrix[column, row] = matrix[row, column]
