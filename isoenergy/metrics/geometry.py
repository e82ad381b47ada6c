"""Where the modalities lie: the gap between them, and the atoms as probes of it (paper 1.7 and 1.11)."""

from typing import overload

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.transport import transport_plan
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics

Floats = npt.NDArray[np.floating]

_BLOCK_ROWS = 2048


def difference_in_means(image_mean: Floats, text_mean: Floats) -> npt.NDArray[np.float64]:
    """Return the norm of the difference of two means: the modality gap DiM; 0 and up (paper 1.11).

    image_mean, text_mean: `(dim, …)`: one number of `(dim,)`, one a column of `(dim, 1 + replicates)`.
    """
    difference = np.asarray(image_mean, np.float64) - np.asarray(text_mean, np.float64)
    return np.asarray(np.linalg.norm(difference, axis=0))


def optimal_transport_gap(images: Floats, texts: Floats) -> float:
    """Return the exact optimal transport cost between two clouds of rows, cost 1 - cosine; in [0, 2] (paper 1.11).

    images: `(n, dim)`; texts: `(m, dim)`. Time and memory grow with n·m and more: sub-sample first. Of pairs,
    `transport_gap` has it with its standard error.
    """
    return transport_plan(images, texts, np.ones(len(images)), np.ones(len(texts)))[1]


@overload
def probing_accuracy(
    images: Floats,
    texts: Floats,
    dictionary: Floats,
    statistics: ConceptStatistics,
    weights: None = None,
    energies: npt.NDArray[np.float64] | None = None,
) -> float: ...


@overload
def probing_accuracy(
    images: Floats,
    texts: Floats,
    dictionary: Floats,
    statistics: ConceptStatistics,
    weights: npt.NDArray[np.float64],
    energies: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]: ...


def probing_accuracy(
    images: Floats,
    texts: Floats,
    dictionary: Floats,
    statistics: ConceptStatistics,
    weights: npt.NDArray[np.float64] | None = None,
    energies: npt.NDArray[np.float64] | None = None,
) -> float | npt.NDArray[np.float64]:
    """Return p_acc: how well atoms tell the modalities apart just where they should; in [0, 1] (paper 1.7).

    images, texts: `(n, dim)`, `(m, dim)`, rows as the SAE sees them. Every atom is a linear probe at the
    energy-weighted barycentre of the dictionary. An image (text) atom scores its accuracy for "is an image" ("is a
    text"); a bimodal atom scores 1 if it cannot separate the modalities, 0.5 if it separates them perfectly.
    Scores are averaged with the atoms' energies. NaN without energy.
    weights: None, or `(n, columns)` of pairs: one value a column. energies: `(atoms, columns)`, those of `statistics`
    if not given. Classes and barycentre are those of `statistics` in every column.
    """
    energy = statistics.energy
    by_image = np.ones((len(images), 1)) if weights is None else weights
    by_text = np.ones((len(texts), 1)) if weights is None else weights
    if energy.sum() == 0:
        values = np.full(by_image.shape[1], np.nan)
    else:
        bias = energy @ dictionary / energy.sum()
        images_above = _weight_above(images, dictionary, bias, by_image)
        texts_below = by_text.sum(axis=0) - _weight_above(texts, dictionary, bias, by_text)
        is_image = (images_above + texts_below) / np.maximum(by_image.sum(axis=0) + by_text.sum(axis=0), 1)
        score = probe_scores(is_image, statistics.classes())
        counted = energy[:, None] if energies is None else energies
        values = (counted * score).sum(axis=0) / np.maximum(counted.sum(axis=0), 1e-30)
    return float(values[0]) if weights is None else values


def _weight_above(
    rows: Floats, dictionary: Floats, bias: Floats, weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """`(atoms, columns)` weight of the rows on an atom's side of the barycentre."""
    found = np.zeros((len(dictionary), weights.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        # float32 adds whole numbers exactly up to 2^24, far above the weight of a block, in half the time
        above = ((rows[block] - bias) @ dictionary.T > 0).T.astype(np.float32)
        found += above @ weights[block].astype(np.float32)
    return found


def probe_scores(is_image: Floats, classes: AtomClasses) -> Floats:
    """Return what each atom scores as a probe: see `probing_accuracy`; in [0, 1] (paper 1.7).

    is_image: `(atoms, …)` accuracies for "is an image".
    """
    score = 1.5 - np.maximum(is_image, 1 - is_image)
    score[classes.image_only] = is_image[classes.image_only]
    score[classes.text_only] = 1 - is_image[classes.text_only]
    return score
