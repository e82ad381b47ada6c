"""The gap in two parts: where the clouds' centres lie, and what is left when they lie on one another."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.floating]

_MOST_ITERATIONS = 10_000_000


class GapParts(NamedTuple):
    """Both are squared distances; they add up to the squared Wasserstein distance of the clouds."""

    centroid: float
    """‖mean image - mean text‖²."""
    distribution: float
    """Squared 2-Wasserstein distance of the clouds once each has lost its mean."""


def gap_parts(images: Rows, texts: Rows) -> GapParts:
    """Split W₂² of `(n, dim)` images and `(n, dim)` texts, exactly: W₂² = ‖Δμ‖² + W₂²(centred).

    The second part of a sample is above that of the whole, the more so the fewer rows and the more dimensions: compare
    it at one n only, and with two halves of one modality. Time and memory grow with n² and more: sub-sample first.
    Source: of 2601.18525 and 2604.00279 only that a centroid and a distribution part are told apart could be
    established; this split is the standard one.
    """
    import ot  # costs a second to import

    parts = [np.asarray(rows, np.float64) for rows in (images, texts)]
    means = [part.mean(0) for part in parts]
    one, other = (part - mean for part, mean in zip(parts, means, strict=True))
    cost = np.maximum(np.square(one).sum(1)[:, None] + np.square(other).sum(1) - 2 * one @ other.T, 0)
    moved = float(ot.emd2(ot.unif(len(one)), ot.unif(len(other)), cost, numItermax=_MOST_ITERATIONS))
    return GapParts(float(np.square(means[0] - means[1]).sum()), moved)
