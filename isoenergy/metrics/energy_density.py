"""Where the energy lies, atom by atom: its density over the logarithm of an atom's energy."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS_A_DECADE = 20
BANDWIDTH = 0.12
"""Standard deviation of the kernel, in decades."""
_MARGIN = 4 * BANDWIDTH


def decades(energy: Floats) -> Floats:
    """Return `(bins,)` middles of bins of log10 energy that hold all positive ones of `energy` and their kernels."""
    positive = energy[energy > 0]
    low, high = (np.log10([positive.min(), positive.max()])) if len(positive) else (-1.0, 0.0)
    count = int(np.ceil((high - low + 2 * _MARGIN) * BINS_A_DECADE)) + 1
    return low - _MARGIN + np.arange(count) / BINS_A_DECADE


def energy_density(energy: Floats, middles: Floats, total: Floats) -> Floats:
    """Return `(bins, columns)` share of the energy a decade, smoothed by a Gaussian kernel.

    energy: `(atoms, columns)`, of the atoms that count; middles: as `decades` returns them; total: `(columns,)`
    energies that the shares are of: over all decades and disjoint sets of atoms they then add up to 1. Energies beyond
    the bins count at their ends.
    """
    columns = energy.shape[1]
    with np.errstate(divide="ignore"):
        place = np.rint((np.log10(energy) - middles[0]) * BINS_A_DECADE)
    place = np.clip(np.nan_to_num(place, neginf=0.0), 0, len(middles) - 1).astype(np.int64)
    held = np.bincount((place * columns + np.arange(columns)).ravel(), energy.ravel(), len(middles) * columns)
    reach = np.arange(-round(_MARGIN * BINS_A_DECADE), round(_MARGIN * BINS_A_DECADE) + 1) / BINS_A_DECADE
    kernel = np.exp(-0.5 * np.square(reach / BANDWIDTH))
    kernel *= BINS_A_DECADE / kernel.sum()
    share = held.reshape(len(middles), columns) / np.where(total > 0, total, np.inf)
    return np.apply_along_axis(np.convolve, 0, share, kernel, mode="same")
