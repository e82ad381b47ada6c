"""Pairs of a store in memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class PairArrays:
    """Pairs in memory: row i of each array belongs to one pair."""

    keys: npt.NDArray[np.object_]
    """`(pairs,)` strings."""
    images: npt.NDArray[np.floating]
    """`(pairs, dim)` raw image embeddings, as stored."""
    texts: npt.NDArray[np.floating]
    """`(pairs, dim)` raw text embeddings, as stored."""

    def __len__(self) -> int:
        return len(self.keys)


def embedding_rows(column: pa.ChunkedArray, dim: int) -> npt.NDArray[np.floating]:
    """Return a column of embeddings as `(pairs, dim)`, as stored."""
    flat: npt.NDArray[np.floating] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, dim)


def list_rows(
    column: pa.ChunkedArray, width: int, dtype: str
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.integer], npt.NDArray[np.bool_]]:
    """Return a column of lists as `(rows, width)`, zeros where one has another length; lengths, -1: none; who lack one.

    A row that lacks a number has NaN there.
    """
    lists = column.combine_chunks()
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    whole = lengths == width
    numbers = lists.filter(pa.array(whole)).flatten()
    rows = np.zeros((len(lists), width), dtype)
    lacking = np.zeros(len(lists), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        rows[whole] = numbers.to_numpy(zero_copy_only=False).reshape(-1, width)
    lacking[whole] = numbers.is_null().to_numpy(zero_copy_only=False).reshape(-1, width).any(axis=1)
    return rows, lengths, lacking


def checked_rows(
    column: pa.ChunkedArray, name: str, width: int, dtype: str, faults: dict[int, str]
) -> npt.NDArray[np.floating]:
    """Return a column as `(rows, width)`, zeros where a row cannot be used; its faults join those that are known."""
    rows, lengths, lacking = list_rows(column, width, dtype)
    for row in np.flatnonzero(lengths == -1):
        faults.setdefault(int(row), f"there is no {name} vector")
    for row in np.flatnonzero((lengths >= 0) & (lengths != width)):
        faults.setdefault(int(row), f"{name} has {lengths[row]} numbers, and others have {width}")
    for row in np.flatnonzero(lacking):
        faults.setdefault(int(row), f"{name} lacks a number")
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)):
        faults.setdefault(int(row), f"{name} is not finite in {dtype}")
    for row in np.flatnonzero(~rows.any(axis=1)):
        faults.setdefault(int(row), f"{name} is zero")
    if rows.dtype != np.float16:  # whose squares float32 holds
        squares = squared_norms(rows)
        for row in np.flatnonzero(~np.isfinite(squares) | (squares == 0)):
            faults.setdefault(int(row), f"{name} is too {'small' if squares[row] == 0 else 'large'} to be normalised")
    return rows


def squared_norms(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the squares of the norms of `(rows, width)` in float32, in which rows are normalised."""
    with np.errstate(all="ignore"):
        squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        return squares.astype(np.float32)
