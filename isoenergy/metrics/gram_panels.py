"""Gram matrices of dictionaries a panel of rows at a time: many atoms' atoms² entries never lie in memory together."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]

_PANEL_ENTRIES = 4_000_000
_WHOLE_ENTRIES = 1 << 25
"""Up to this many entries, 268 MB, a whole matrix is quicker to order than panels are to count."""
_BINS = 1 << 16
_KEPT_VALUES = 8_000_000
_GATHERED_SHARE = 0.01
"""Below this share of a panel's entries, single inner products are cheaper than the panel."""


def unit_rows(rows: npt.NDArray[np.floating]) -> Floats:
    """Return `(n, dim)` rows at norm 1, in float64; rows of zeros stay so."""
    given = np.asarray(rows)
    exact = given.astype(np.float64, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]  # no array of squares is written
    return np.divide(exact, np.where(norms > 0, norms, 1), out=None if exact is given else exact)


def row_panels(atoms: int) -> Iterator[slice]:
    """Yield slices that cover `atoms` rows, each small enough for a dense panel of rows × atoms."""
    rows = max(1, _PANEL_ENTRIES // max(atoms, 1))
    for start in range(0, atoms, rows):
        yield slice(start, min(start + rows, atoms))


def gram_at(dictionary: npt.NDArray[np.floating], pattern: sparse.csr_array) -> Floats:
    """Return the inner products of atoms where `pattern`, `(atoms, atoms)`, stores entries, in their order."""
    found = np.empty(pattern.nnz)
    for entries, products in gram_parts_at(dictionary, pattern):
        found[entries] = products
    return found


def gram_parts_at(dictionary: npt.NDArray[np.floating], pattern: sparse.csr_array) -> Iterator[tuple[slice, Floats]]:
    """Yield what `gram_at` returns in parts, and which of the entries each is of."""
    dictionary = np.asarray(dictionary, np.float64)
    for panel in row_panels(len(dictionary)):
        first, last = pattern.indptr[panel.start], pattern.indptr[panel.stop]
        columns = pattern.indices[first:last]
        rows = np.repeat(np.arange(panel.stop - panel.start), np.diff(pattern.indptr[panel.start : panel.stop + 1]))
        if last - first < _GATHERED_SHARE * (panel.stop - panel.start) * len(dictionary):
            yield slice(first, last), np.einsum("ij,ij->i", dictionary[panel][rows], dictionary[columns])
        else:
            yield slice(first, last), (dictionary[panel] @ dictionary.T)[rows, columns]


def gram_quantile(dictionary: npt.NDArray[np.floating], quantile: float, magnitudes: bool = False) -> float:
    """Return the ⌊quantile · atoms²⌋-th smallest entry of D Dᵀ (the first if that is 0), exactly.

    dictionary: `(atoms, dim)`. magnitudes: order the entries by |·| and return that. Up to 5,792 atoms the matrix is
    ordered as a whole. Beyond, two passes over half of it: one counts entries in bins, one collects those of the bin
    that holds the rank; a bin that is too full is first counted in finer bins.
    """
    atoms = np.asarray(dictionary, np.float64)
    rank = quantile_rank(quantile, len(atoms) ** 2)
    if len(atoms) ** 2 <= _WHOLE_ENTRIES:
        return _partitioned(atoms, rank, magnitudes)
    high = float(np.square(atoms).sum(1).max()) * (1 + 1e-9)  # Cauchy and Schwarz
    low = -high
    while high > low:
        bin_of = _binning(low, high)
        counts = np.zeros(_BINS, np.int64)
        below = 0
        for values, times in _half_gram(atoms, magnitudes):
            below += times * int((values < low).sum())
            counts += times * np.bincount(bin_of(values[(values >= low) & (values <= high)]), minlength=_BINS)
        ends = below + counts.cumsum()
        chosen = min(int(np.searchsorted(ends, rank)), _BINS - 1)
        if counts[chosen] <= _KEPT_VALUES:
            kept = []
            for values, times in _half_gram(atoms, magnitudes):
                values = values[(values >= low) & (values <= high)]
                kept += [values[bin_of(values) == chosen]] * times
            inside = np.concatenate(kept)
            place = rank - 1 - int(ends[chosen] - counts[chosen])
            return float(np.partition(inside, place)[place])
        finer_low, finer_high = np.inf, -np.inf
        for values, _ in _half_gram(atoms, magnitudes):
            values = values[(values >= low) & (values <= high)]
            values = values[bin_of(values) == chosen]
            if len(values):
                finer_low, finer_high = min(finer_low, float(values.min())), max(finer_high, float(values.max()))
        low, high = finer_low, finer_high
    return low


def quantile_rank(quantile: float, entries: int) -> int:
    """Return which of `entries` sorted entries, counted from 1, is the quantile: no interpolation, as the paper's."""
    if not 0 <= quantile <= 1:
        raise ValueError(f"a quantile lies in [0, 1], got {quantile}")
    return max(1, int(quantile * entries))


def _partitioned(dictionary: Floats, rank: int, magnitudes: bool) -> float:
    entries = (dictionary @ dictionary.T).ravel()
    if magnitudes:
        np.abs(entries, out=entries)
    entries.partition(rank - 1)
    return float(entries[rank - 1])


def _half_gram(dictionary: Floats, magnitudes: bool) -> Iterator[tuple[Floats, int]]:
    """Yield all entries of the Gram matrix, as values and how often they occur."""
    for panel in row_panels(len(dictionary)):
        values = dictionary[panel] @ dictionary[panel.start :].T
        if magnitudes:
            np.abs(values, out=values)
        width = panel.stop - panel.start
        yield values[:, :width].ravel(), 1
        yield values[:, width:].ravel(), 2


def _binning(low: float, high: float) -> Callable[[Floats], npt.NDArray[np.int64]]:
    scale = (_BINS - 1) / (high - low)
    return lambda values: np.minimum(((values - low) * scale).astype(np.int64), _BINS - 1)
