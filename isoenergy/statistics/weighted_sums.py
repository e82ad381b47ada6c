"""Sums over pairs under bootstrap weights: they merge, and nothing is encoded again for a replicate.

weights: `(n, 1 + replicates)` of the pairs, as `isoenergy.statistics.bootstrap.image_weights` draws them. The last
axis of every sum is the number itself, then the replicates, so that each update is one matrix product. What follows
from first and second moments by atom follows for each replicate: reconstruction, energies and their shares, and the
difference in means after any removal of atoms and any affine map, since decoding is linear.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.bootstrap import REPLICATES, if_enough
from isoenergy.statistics.concept_statistics import merged_code_matrix, modality_score
from isoenergy.statistics.sums import MergeableSums

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """Return `(…, 1 + replicates)` means of `(…, n)` values under `(n, 1 + replicates)` weights; NaN without weight."""
    total, sums = weights.sum(0), values @ weights
    mean: Floats = np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)
    return mean


class WeightedSums(MergeableSums):
    """A base for sums whose last axis is the sum itself, then the replicates."""

    def if_enough(self, images: int) -> Self:
        """Return the sums over so many images, all there are: see `isoenergy.statistics.bootstrap.if_enough`."""
        return type(self)(*(if_enough(getattr(self, item.name), images) for item in fields(self)))


@dataclass
class MeanSums(WeightedSums):
    """Weighted sums of paired rows; the last axis is the sum itself, then the replicates."""

    pairs: Floats
    """`(1 + replicates,)` sum of the weights."""
    image: Floats
    """`(dim, 1 + replicates)` sum of the images."""
    text: Floats

    @classmethod
    def zeros(cls, dim: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        return cls(np.zeros(columns), np.zeros((dim, columns)), np.zeros((dim, columns)))

    def update(self, images: Tensor, texts: Tensor, weights: Floats) -> None:
        """Add `(n, dim)` pairs and their `(n, 1 + replicates)` weights."""
        self.pairs += weights.sum(axis=0)
        for total, rows in ((self.image, images), (self.text, texts)):
            total += rows.double().cpu().numpy().T @ weights

    @property
    def means(self) -> tuple[Floats, Floats]:
        """`(dim, 1 + replicates)` means of images and of texts."""
        count = np.maximum(self.pairs, 1)
        return self.image / count, self.text / count


@dataclass
class BootstrapSums(WeightedSums):
    """Weighted sums over pairs; the last axis is the number itself, then the replicates. Halves merge by adding."""

    pairs: Floats
    """`(1 + replicates,)` sum of the weights."""
    image_first: Floats
    """`(atoms, 1 + replicates)` sum of z."""
    text_first: Floats
    image_second: Floats
    """`(atoms, 1 + replicates)` sum of z²."""
    text_second: Floats
    products: Floats
    """`(atoms, 1 + replicates)` sum of an image's z times its text's."""
    errors: Floats
    """`(2, 1 + replicates)` sum of squared errors, images and texts."""
    entries: Floats
    """`(2, 1 + replicates)` sum of the rows' entries."""
    squares: Floats
    """`(2, 1 + replicates)` sum of their squares."""
    fires: Floats
    """`(2, 1 + replicates)` sum of the number of atoms in a row's code."""
    absolute: Floats
    """`(2, 1 + replicates)` sum of |z| over all atoms."""

    @classmethod
    def zeros(cls, atoms: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        return cls(
            np.zeros(columns),
            *(np.zeros((atoms, columns)) for _ in range(5)),
            *(np.zeros((2, columns)) for _ in range(5)),
        )

    def update(self, codes: tuple[SparseCodes, SparseCodes], rows: tuple[Tensor, Tensor], weights: Floats) -> None:
        """Add pairs: image and text codes with their residuals, the rows that were encoded, and the pairs' weights."""
        from isoenergy.statistics.row_moments import RowMoments  # numba takes a second to load

        self.pairs += weights.sum(axis=0)
        matrices = [merged_code_matrix(part, len(self.image_first)) for part in codes]
        self.products += matrices[0].multiply(matrices[1]).T @ weights
        for number, (name, values) in enumerate(zip(("image", "text"), matrices, strict=True)):
            first, second = getattr(self, f"{name}_first"), getattr(self, f"{name}_second")
            first += values.T @ weights
            second += values.power(2).T @ weights
            x, residual = RowMoments.of(rows[number]), RowMoments.of(codes[number].residual)
            for sums, by_row in (
                (self.errors, residual.squares),
                (self.entries, x.totals),
                (self.squares, x.squares),
                (self.fires, (values != 0).sum(1)),
                (self.absolute, abs(values).sum(1)),
            ):
                sums[number] += by_row @ weights

    @property
    def has_replicates(self) -> bool:
        """Whether they are of images enough for an interval."""
        return not np.isnan(self.pairs).any()

    @property
    def energy(self) -> Floats:
        """`(atoms, 1 + replicates)` energy in images and texts together, times the pairs' weight."""
        return self.image_second + self.text_second

    @property
    def modality_score(self) -> Floats:
        """`(atoms, 1 + replicates)`: see `isoenergy.statistics.concept_statistics.modality_score`."""
        return modality_score(self.image_second, self.text_second)

    @property
    def correlation(self) -> Floats:
        """`(atoms, 1 + replicates)` correlation of both coefficients in pairs; NaN where one of them does not vary."""
        count = np.maximum(self.pairs, 1)
        means = self.image_first / count, self.text_first / count
        seconds = self.image_second / count, self.text_second / count
        variances = [second - mean**2 for second, mean in zip(seconds, means, strict=True)]
        varies = [variance > _ROUNDING * second for variance, second in zip(variances, seconds, strict=True)]
        spreads = np.sqrt(np.where(varies[0] & varies[1], variances[0] * variances[1], 0))
        covariance = self.products / count - means[0] * means[1]
        found: Floats = np.divide(covariance, spreads, out=np.full(spreads.shape, np.nan), where=spreads > 0)
        return found.clip(-1, 1)

    @property
    def l0(self) -> Floats:
        """`(1 + replicates,)`: see `isoenergy.statistics.concept_statistics.ModalityStatistics.l0`."""
        atoms: Floats = self.fires.sum(0) / np.maximum(2 * self.pairs, 1)
        return atoms

    @property
    def l1(self) -> Floats:
        """`(1 + replicates,)`: see `isoenergy.statistics.concept_statistics.ModalityStatistics.l1`."""
        norm: Floats = self.absolute.sum(0) / np.maximum(2 * self.pairs, 1)
        return norm

    def errors_by_modality(self, dim: int) -> Iterator["WeightedErrors"]:
        """Yield the sums that errors follow from, of images, then of texts; rows are `dim` wide."""
        for errors, total, squares in zip(self.errors, self.entries, self.squares, strict=True):
            yield WeightedErrors(self.pairs, self.pairs * dim, total, squares, errors)

    def rebuilt_means(self, dictionary: Floats, weights: Floats | npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return `(dim, 1 + replicates)` means of images and texts rebuilt from atoms times `weights`.

        dictionary: `(atoms, dim)`. weights: `(atoms,)`, of both modalities, or `(2, atoms)`; bool: which are kept.
        Decoding is linear, so that the means need the coefficients' sums alone (paper 4.1).
        """
        count, by_modality = np.maximum(self.pairs, 1), np.broadcast_to(weights, (2, len(dictionary)))
        image, text = (
            dictionary.T @ (part[:, None] * first / count)
            for part, first in zip(by_modality, (self.image_first, self.text_first), strict=True)
        )
        return image, text


@dataclass(frozen=True)
class WeightedErrors:
    """What `isoenergy.metrics.reconstruction` measures errors from, `(1 + replicates,)` each."""

    rows: Floats
    entries: Floats
    total: Floats
    second: Floats
    squared_error: Floats
