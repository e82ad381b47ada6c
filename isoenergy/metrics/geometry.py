"""Where the modalities lie: the gap between them, and the atoms as probes of it (paper 1.7 and 1.11)."""

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.transport import transport_plan
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics

Floats = npt.NDArray[np.floating]


def difference_in_means(image_mean: Floats, text_mean: Floats) -> float:
    """Return the norm of the difference of two `(dim,)` means: the modality gap DiM; 0 and up (paper 1.11)."""
    return float(np.linalg.norm(np.asarray(image_mean, np.float64) - np.asarray(text_mean, np.float64)))


def optimal_transport_gap(images: Floats, texts: Floats) -> float:
    """Return the exact optimal transport cost between two clouds of rows, cost 1 - cosine; in [0, 2] (paper 1.11).

    images: `(n, dim)`; texts: `(m, dim)`. Time and memory grow with n·m and more: sub-sample first. Of pairs,
    `transport_gap` has it with its standard error.
    """
    return transport_plan(images, texts, np.ones(len(images)), np.ones(len(texts)))[1]


def probing_accuracy(images: Floats, texts: Floats, dictionary: Floats, statistics: ConceptStatistics) -> float:
    """Return p_acc: how well atoms tell the modalities apart just where they should; in [0, 1] (paper 1.7).

    images, texts: `(n, dim)`, `(m, dim)`, rows as the SAE sees them. Every atom is a linear probe at the
    energy-weighted barycentre of the dictionary. An image (text) atom scores its accuracy for "is an image" ("is a
    text"); a bimodal atom scores 1 if it cannot separate the modalities, 0.5 if it separates them perfectly.
    Scores are averaged with the atoms' energies.
    """
    energy = statistics.energy
    total = energy.sum()
    if total == 0:
        return float("nan")
    bias = energy @ dictionary / total
    image_positive = ((images - bias) @ dictionary.T > 0).sum(0)
    text_positive = ((texts - bias) @ dictionary.T > 0).sum(0)
    is_image = (image_positive + len(texts) - text_positive) / (len(images) + len(texts))
    return float((energy * probe_scores(is_image, statistics.classes())).sum() / total)


def probe_scores(is_image: Floats, classes: AtomClasses) -> Floats:
    """Return what each atom scores as a probe: see `probing_accuracy`; in [0, 1] (paper 1.7).

    is_image: `(atoms, …)` accuracies for "is an image".
    """
    score = 1.5 - np.maximum(is_image, 1 - is_image)
    score[classes.image_only] = is_image[classes.image_only]
    score[classes.text_only] = 1 - is_image[classes.text_only]
    return score
