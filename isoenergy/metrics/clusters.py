"""Clusters of images and texts together: of meaning, or of modality."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


class Clusters(NamedTuple):
    """How k-means clusters of both modalities' rows go with what is known of them."""

    v_measure: float
    """With the labels, harmonic mean of homogeneity and completeness; in [0, 1], NaN without labels."""
    ari: float
    """Adjusted Rand index with the labels; 0 by chance, at most 1, NaN without labels."""
    pairs: float
    """Adjusted Rand index of the images' clusters with those of their texts; 1 if every pair lies in one cluster."""
    modality: float
    """V-measure with the modality; 0 if clusters do not tell it, in [0, 1]."""


def clusters_of_both(images: Rows, texts: Rows, labels: Labels, clusters: int, seed: int) -> Clusters:
    """Cluster `(n, dim)` images and `(n, dim)` texts together by k-means of unit rows, the best of ten starts.

    labels: `(n,)` of the pairs, -1 for none; rows without a label are clustered and not counted. A row of zeros stays
    one. Source: V-measure and ARI of clusters of mixed modalities, as in 2601.18525 and 2604.00279; their numbers of
    clusters and starts could not be established.
    Raises ImportError without scikit-learn.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, v_measure_score

    rows = np.concatenate([images, texts]).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    clusters = min(clusters, len(np.unique(rows, axis=0)))
    found = KMeans(clusters, n_init=10, random_state=seed).fit_predict(rows)
    both = np.concatenate([labels, labels])
    known = both >= 0
    v_measure = ari = float("nan")
    if known.any():
        v_measure = float(v_measure_score(both[known], found[known]))
        ari = float(adjusted_rand_score(both[known], found[known]))
    modality = np.arange(len(rows)) < len(images)
    return Clusters(
        v_measure,
        ari,
        pairs=float(adjusted_rand_score(found[modality], found[~modality])),
        modality=float(v_measure_score(modality, found)),
    )
