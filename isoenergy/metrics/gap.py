"""The modality gap seen from the rows: distances of pairs, the relative gap, and the cones (paper 1.11 and 7).

The difference in means and the transport cost are in `geometry`. Rows are taken at norm 1 throughout; all means over
pairs of rows are closed forms in the rows' sum, O(n · dim).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.gram_panels import unit_rows

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating]
Indices = npt.NDArray[np.integer]

_ROWS_AT_ONCE = 1024


def l2m(images: Rows, texts: Rows) -> float:
    """Return L2M of Schrodi et al. (2025): the norm of the difference of the unit rows' means; in [0, 2].

    images: `(n, dim)`; texts: `(m, dim)`. It is `difference_in_means` (DiM) where that is taken of unit rows.
    """
    return float(np.linalg.norm(unit_rows(images).mean(0) - unit_rows(texts).mean(0)))


def l2i(images: Rows, texts: Rows, image_of_text: Indices | None = None) -> float:
    """Return L2I of Schrodi et al. (2025): the mean over texts of ‖image - text‖ of the matching unit rows; in [0, 2].

    images: `(n, dim)`; texts: `(m, dim)`; image_of_text: `(m,)` rows of `images`, where an image has several captions;
    without it row i belongs to row i.
    """
    return _l2i(unit_rows(images), unit_rows(texts), image_of_text)


def _l2i(unit_images: Floats, unit_texts: Floats, image_of_text: Indices | None = None) -> float:
    matching = _of_texts(unit_images, unit_texts, image_of_text)
    return float(_by_row(lambda image, text: np.linalg.norm(image - text, axis=1), matching, unit_texts).mean())


@overload
def relative_modality_gap(
    images: Rows, texts: Rows, image_of_text: Indices | None = None, weights: None = None
) -> float: ...


@overload
def relative_modality_gap(
    images: Rows, texts: Rows, image_of_text: Indices | None = None, *, weights: Floats
) -> Floats: ...


def relative_modality_gap(
    images: Rows, texts: Rows, image_of_text: Indices | None = None, weights: Floats | None = None
) -> float | Floats:
    """Return RMG of Schrodi et al. (2025): m / (m + (i + t) / 2); in [0, 1], 0 if matching rows coincide.

    m, i, t: mean dissimilarity (1 - cosine) / 2 of matching rows, of two different images, of two different texts.
    Arguments as for `l2i`: give each image once. NaN with fewer than two images or texts, or no dissimilarity at all.
    weights: None, or `(n, columns)` of the images, which are their texts' too: one value a column. A row that is
    drawn twice does not meet itself.
    """
    by_image = np.ones((len(images), 1)) if weights is None else weights
    by_text = by_image if image_of_text is None else by_image[image_of_text]
    values = _relative_gap(unit_rows(images), unit_rows(texts), by_image, by_text, image_of_text)
    return float(values[0]) if weights is None else values


def _relative_gap(
    unit_images: Floats, unit_texts: Floats, by_image: Floats, by_text: Floats, image_of_text: Indices | None = None
) -> Floats:
    matching_images = _of_texts(unit_images, unit_texts, image_of_text)
    dissimilarity = (1 - _by_row(lambda image, text: (image * text).sum(1), matching_images, unit_texts)) / 2
    matching = dissimilarity @ by_text / np.maximum(by_text.sum(0), 1)
    within = (2 - _cosine_within(unit_images, by_image) - _cosine_within(unit_texts, by_text)) / 4
    total = matching + within
    values: Floats = np.divide(matching, total, out=np.full_like(total, np.nan), where=total > 0)
    return values


@dataclass(frozen=True)
class ConeStatistics:
    """How narrow each modality's cone is and how far apart they lie (Liang et al. 2022); cosines in [-1, 1]."""

    within_images: float
    """Mean cosine of two different images."""
    within_texts: float
    """Mean cosine of two different texts."""
    between: float
    """Mean cosine of an image and a text, matching or not."""
    image_mean_norm: float
    """Norm of the unit images' mean, in [0, 1]."""
    text_mean_norm: float
    """Norm of the unit texts' mean, in [0, 1]."""


def cone_statistics(images: Rows, texts: Rows) -> ConeStatistics:
    """Measure the cones of `(n, dim)` images and `(m, dim)` texts."""
    return _cones(unit_rows(images), unit_rows(texts))


def _cones(unit_images: Floats, unit_texts: Floats) -> ConeStatistics:
    image_mean, text_mean = unit_images.mean(0), unit_texts.mean(0)
    return ConeStatistics(
        within_images=_mean_cosine(unit_images),
        within_texts=_mean_cosine(unit_texts),
        between=float(image_mean @ text_mean),
        image_mean_norm=float(np.linalg.norm(image_mean)),
        text_mean_norm=float(np.linalg.norm(text_mean)),
    )


@dataclass(frozen=True)
class PairedClouds:
    """What is measured of the rows of pairs."""

    relative: Floats
    """`(columns,)`: see `relative_modality_gap`."""
    l2i: float
    cones: ConeStatistics


def paired_clouds(images: Rows, texts: Rows, weights: Floats) -> PairedClouds:
    """Return `relative_modality_gap`, `l2i` and `cone_statistics` of `(n, dim)` pairs, brought to norm 1 but once.

    weights: `(n, columns)` of the pairs, for the relative gap.
    """
    unit = unit_rows(images), unit_rows(texts)
    return PairedClouds(_relative_gap(*unit, weights, weights), _l2i(*unit), _cones(*unit))


def mean_cosine_within(rows: Rows) -> float:
    """Return the mean cosine of two different rows of `(n, dim)`: (‖Σu‖² - Σ‖u‖²) / (n² - n); NaN of fewer than two."""
    return _mean_cosine(unit_rows(rows))


def _mean_cosine(unit: Floats) -> float:
    return float(_cosine_within(unit, np.ones((len(unit), 1)))[0])


def _cosine_within(unit: Floats, weights: Floats) -> Floats:
    """`(columns,)` means over pairs of different rows under `(n, columns)` weights; NaN where there is no such pair."""
    meetings = weights.sum(0) ** 2 - np.square(weights).sum(0)
    norms = _by_row(lambda rows: np.square(rows).sum(1), unit)
    cosines = np.square(unit.T @ weights).sum(0) - norms @ np.square(weights)
    mean: Floats = np.divide(cosines, meetings, out=np.full_like(cosines, np.nan), where=meetings > 0)
    return mean


def _by_row(measure: Callable[..., Floats], *rows: Floats) -> Floats:
    """Return `(n,)` what is measured of each of `(n, dim)` rows, a block at a time: no array of their size is made."""
    starts = range(0, max(len(rows[0]), 1), _ROWS_AT_ONCE)
    return np.concatenate([measure(*(part[start : start + _ROWS_AT_ONCE] for part in rows)) for start in starts])


def _of_texts(images: Floats, texts: Floats, image_of_text: Indices | None) -> Floats:
    """Return each text's image."""
    given = len(images) if image_of_text is None else len(image_of_text)
    if given != len(texts):
        raise ValueError(f"every text needs its image, got {len(texts)} texts and {given} images of them")
    return images if image_of_text is None else images[image_of_text]
