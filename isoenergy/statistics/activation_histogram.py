"""How strongly each atom fires in images and in texts: counts in bins that are the same for all atoms and all data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from isoenergy.statistics.sums import MergeableSums

if TYPE_CHECKING:
    from isoenergy.codes.sparse_codes import SparseCodes

Counts = npt.NDArray[np.int64]

BINS_AN_OCTAVE = 4
LEAST_OCTAVE, OCTAVES = -10, 16
"""Bins are even in log |z|, from 2⁻¹⁰ on; codes of rows of unit norm lie below 2⁰."""
BINS = BINS_AN_OCTAVE * OCTAVES


@dataclass
class ActivationHistogram(MergeableSums):
    """`(atoms, BINS)` numbers of rows by |z|, those in which an atom does not fire left out.

    Bin b holds 2^(LEAST_OCTAVE + b/4) ≤ |z| < 2^(LEAST_OCTAVE + (b + 1)/4); the first and the last also what is beyond.
    """

    image: Counts
    text: Counts

    @classmethod
    def zeros(cls, atoms: int) -> Self:
        """Return the counts of no rows."""
        return cls(*(np.zeros((atoms, BINS), np.int64) for _ in range(2)))

    def update(self, image_codes: SparseCodes, text_codes: SparseCodes) -> None:
        """Add rows of images and of texts."""
        self.image += _counts(image_codes, len(self.image))
        self.text += _counts(text_codes, len(self.text))


def _counts(codes: SparseCodes, atoms: int) -> Counts:
    values = codes.merged_values().numpy()
    fires = values != 0
    octaves = np.log2(np.abs(values[fires]).astype(np.float64)) - LEAST_OCTAVE
    bins = np.clip(np.floor(BINS_AN_OCTAVE * octaves), 0, BINS - 1).astype(np.int64)
    places = codes.indices.numpy()[fires].astype(np.int64) * BINS + bins
    return np.bincount(places, minlength=atoms * BINS).reshape(atoms, BINS)
