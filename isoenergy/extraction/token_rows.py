"""Several rows a pair: a row for each token, and how those of two modalities stand beside each other."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class TokenRows:
    """Several rows a pair."""

    values: np.ndarray
    """`(rows, dim)`, those of a pair together."""
    counts: np.ndarray
    """`(pairs,)`: how many each has, at least one."""

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self.values.dtype

    @property
    def starts(self) -> np.ndarray:
        """`(pairs,)` number of each one's first row."""
        return _starts(self.counts)


Rows = np.ndarray | TokenRows
"""`(pairs, dim)`, or several rows a pair."""


def coupled(images: TokenRows, texts: TokenRows) -> tuple[TokenRows, TokenRows]:
    """Return as many rows of either modality a pair as it has of the one that has more, the other's gone round again.

    Row n of a pair is token n of the image, and of the caption, each modulo their number: tokens are not aligned one to
    one, every token is there, and those of one modality stand there equally often but for one.
    """
    counts = np.maximum(images.counts, texts.counts)
    return _gone_round(images, counts), _gone_round(texts, counts)


def _gone_round(rows: TokenRows, counts: np.ndarray) -> TokenRows:
    starts = np.repeat(rows.starts, counts)
    return TokenRows(rows.values[starts + _numbers_within(counts) % np.repeat(rows.counts, counts)], counts)


def _numbers_within(counts: np.ndarray) -> np.ndarray:
    """Return 0, 1, … of each group of `counts` rows."""
    numbers: np.ndarray = np.arange(counts.sum()) - np.repeat(_starts(counts), counts)
    return numbers


def _starts(counts: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.cumsum(counts) - counts
    return starts


def are_finite(rows: Rows) -> np.ndarray:
    """Return of each pair whether all its numbers are finite, `(pairs,)` bool."""
    if not isinstance(rows, TokenRows):
        return np.asarray(np.isfinite(rows).all(axis=1))
    good = np.isfinite(rows.values).all(axis=1)
    return np.asarray(np.logical_and.reduceat(good, rows.starts))


def row_a_token(shard: pa.Table) -> pa.Table:
    """Return a row for each of the rows that a pair has in `image` and `text`."""
    counts = pc.list_value_length(shard["image"]).to_numpy().astype(np.int64)
    rows = shard.drop_columns(["key", "image", "text"]).take(np.repeat(np.arange(len(shard)), counts))
    keys = np.repeat(np.array(shard["key"].to_pylist(), object), counts)
    named = [f"{key}#{number}" for key, number in zip(keys, _numbers_within(counts), strict=True)]
    rows = rows.append_column("key", pa.array(named, pa.string()))
    for name in ("image", "text"):
        rows = rows.append_column(name, pc.list_flatten(shard[name]))
    return rows


def lists(rows: TokenRows, place: np.ndarray) -> pa.ListArray:
    """Return a column with row `place[i]` of `rows`, a list, at i; null where it is negative."""
    there = place[place >= 0]
    counts = np.zeros(len(place), np.int64)
    counts[place >= 0] = rows.counts[there]
    flat = rows.values[np.repeat(rows.starts[there], rows.counts[there]) + _numbers_within(rows.counts[there])]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    items = pa.FixedSizeListArray.from_arrays(flat.ravel(), rows.values.shape[1])
    return pa.ListArray.from_arrays(offsets, items, mask=pa.array(place < 0))
