"""The Gram matrix that the screen reads, in bf16: half of the memory, and of a round's bytes."""

from functools import partial

import torch
from torch import Tensor

from isoenergy.compiling.products import bf16_product
from isoenergy.compiling.threads import in_parallel
from isoenergy.pursuit.gram import empty_on_huge_pages, even_parts, matmul_precision

SCREEN_PANEL = 512
"""Columns of the matrix that are computed at a time."""
_ROW_PADDING = 32  # numbers: columns a power of two apart would all meet in one cache set
_ROWS_A_TASK = 256


def padded_atoms(atoms: int) -> int:
    """Return the scores of a row, of which the kernels take whole panels."""
    from isoenergy.pursuit.bf16_code import PANEL  # numba takes a second to load

    return -(-atoms // PANEL) * PANEL


def screen_row(atoms: int) -> int:
    """Return the numbers that a row of the matrix takes in memory."""
    return padded_atoms(atoms) + _ROW_PADDING


def screen_gram_matrix(dictionary: Tensor) -> Tensor:
    """Return what `matching_pursuit(gram=)` takes in `gram_matrix(dictionary)`'s place where `screen` runs.

    dictionary: `(atoms, dim)`, float32, on a CPU. It is `(atoms, atoms)` in bf16, half of the memory, with zeros on its
    diagonal, without gradient.
    """
    with torch.no_grad(), matmul_precision("full"):
        gram = empty_screen_gram(len(dictionary))
        write_screen_gram(gram, dictionary)
        return gram


def empty_screen_gram(atoms: int) -> Tensor:
    """Return memory for `write_screen_gram`, `(atoms, atoms)` in bf16, whose rows have zeros behind them."""
    rows = empty_on_huge_pages((atoms, screen_row(atoms)), torch.int16)
    rows[:, atoms:] = 0
    return rows.view(torch.bfloat16)[:, :atoms]


def write_screen_gram(gram: Tensor, dictionary: Tensor) -> None:
    """Write the products, rounded before and after, of `(atoms, dim)` in float32, and zeros on the diagonal."""
    rounded = dictionary.to(torch.bfloat16)
    for low, high in even_parts(len(dictionary), SCREEN_PANEL):
        write_screen_panel(gram, rounded, low, high)


def write_screen_panel(gram: Tensor, rounded: Tensor, low: int, high: int) -> None:
    """Write columns `low` to `high` down to the diagonal, and the same as rows, for atoms in bf16."""
    from isoenergy.pursuit.tiles import mirror  # numba takes a second to load

    bf16_product(rounded[:high], rounded[low:high], out=gram[:high, low:high])
    gram.diagonal()[low:high] = 0
    in_parallel(partial(mirror, gram.view(torch.int16).numpy(), low, high), high, _ROWS_A_TASK)


def whole_screen_rows(gram: Tensor) -> Tensor:
    """Return `(atoms, padded_atoms(atoms))` rows of a screen's Gram matrix: of `empty_screen_gram`, without a copy."""
    atoms, width = len(gram), padded_atoms(len(gram))
    room = gram.untyped_storage().nbytes() // gram.element_size() - gram.storage_offset()
    fits = gram.stride(1) == 1 and gram.stride(0) >= width and room >= atoms * gram.stride(0)
    if not fits:
        own = empty_screen_gram(atoms)
        return whole_screen_rows(own.copy_(gram))
    return gram.as_strided((atoms, gram.stride(0)), (gram.stride(0), 1))
