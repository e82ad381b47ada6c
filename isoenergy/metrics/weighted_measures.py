"""Measures of pairs under bootstrap weights, for what does not follow from sums by atom.

weights: `(n, 1 + replicates)` of the pairs, ones first, as `isoenergy.statistics.bootstrap.poisson_weights` draws
them. Each function returns `(1 + replicates,)` values, of which the first is the measure itself.
"""

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.geometry import probe_scores
from isoenergy.metrics.gram_panels import unit_rows
from isoenergy.statistics.concept_statistics import ConceptStatistics

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating]

_BLOCK_ROWS = 2048


def relative_modality_gap(images: Rows, texts: Rows, weights: Floats) -> Floats:
    """Return RMG of `(n, dim)` pairs: see `isoenergy.metrics.gap.relative_modality_gap`; in [0, 1].

    Cosines within a modality are those of different pairs: a pair that is drawn twice does not meet itself.
    """
    both = unit_rows(images), unit_rows(texts)
    matching = (1 - (both[0] * both[1]).sum(1)) @ weights / (2 * np.maximum(weights.sum(0), 1))
    meetings = weights.sum(0) ** 2 - np.square(weights).sum(0)
    within = np.zeros_like(matching)
    for rows in both:
        sums = np.square(rows.T @ weights).sum(0) - np.square(rows).sum(1) @ np.square(weights)
        within += (1 - np.divide(sums, meetings, out=np.full_like(sums, np.nan), where=meetings > 0)) / 4
    total = matching + within
    return np.divide(matching, total, out=np.full_like(total, np.nan), where=total > 0)


def probing_accuracy(
    images: Rows,
    texts: Rows,
    dictionary: Rows,
    statistics: ConceptStatistics,
    energies: Floats,
    weights: Floats,
) -> Floats:
    """Return p_acc: see `isoenergy.metrics.geometry.probing_accuracy`; in [0, 1] (paper 1.7).

    images, texts: `(n, dim)` pairs. energies: `(atoms, 1 + replicates)` of all pairs. The classes and the barycentre
    are those of the data; the atoms' accuracies and energies vary.
    """
    energy = statistics.energy
    if energy.sum() == 0:
        return np.full(weights.shape[1], np.nan)
    bias = energy @ dictionary / energy.sum()
    image_positive, text_positive = (_positives(rows, dictionary, bias, weights) for rows in (images, texts))
    count = np.maximum(weights.sum(0), 1)
    is_image = (image_positive + count - text_positive) / (2 * count)
    score = probe_scores(is_image, statistics.classes())
    return (energies * score).sum(0) / np.maximum(energies.sum(0), 1e-30)


def _positives(rows: Rows, dictionary: Rows, bias: Floats, weights: Floats) -> Floats:
    """`(atoms, 1 + replicates)` weight of the rows on an atom's side of the barycentre."""
    found = np.zeros((len(dictionary), weights.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        found += ((rows[block] - bias) @ dictionary.T > 0).T.astype(np.float32) @ weights[block].astype(np.float32)
    return found
