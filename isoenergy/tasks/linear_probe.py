"""Linear probes: what a linear classifier, trained on some images, reads out of others (paper 4.4).

The paper's probe was in all likelihood trained on the images that it was tested on; here the two are apart.
"""

import warnings

import numpy as np
import numpy.typing as npt

from isoenergy.errors import InputError
from isoenergy.statistics.bootstrap import Floats, Interval
from isoenergy.statistics.weighted_sums import weighted_mean
from isoenergy.tasks.zero_shot import by_class

_ITERATIONS = 200
_TOLERANCE = 1e-3
"""Somewhat short of the minimum, at which 5 % of the demo's test rows are on the other side: its accuracies move by up
to 0.007, within their intervals. scikit-learn's own 1e-4 takes twice as long."""

Rows = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]


def probe(train: Rows, train_labels: Labels, test: Rows, test_labels: Labels, weights: Floats) -> dict[str, Interval]:
    """Return `accuracy`, and `balanced`, its mean over classes, of `probe_hits`.

    weights: `(n, 1 + replicates)` of the test rows.
    """
    hits = probe_hits(train, train_labels, test, test_labels)
    shares = {"accuracy": weighted_mean(hits, weights), "balanced": by_class(hits, test_labels, weights)}
    return {name: Interval.of_share(each) for name, each in shares.items()}


def probe_hits(train: Rows, train_labels: Labels, test: Rows, test_labels: Labels) -> npt.NDArray[np.float64]:
    """Return `(n,)`, 1 where a logistic regression on standardised features gives a test row its label, else 0.

    train: `(m, dim)`; test: `(n, dim)`; labels: whole numbers. Mean and scale are those of the train rows. The penalty
    is half the squared weights, against the summed loss.
    Raises InputError if the train rows are of fewer than two classes, or a number is not finite.
    """
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes a second to load
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train_labels)) < 2:
        raise InputError("a linear probe needs train rows of at least two classes; embed more pairs, or name more")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise InputError("a linear probe was given rows that are not finite; leave those pairs out")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS, tol=_TOLERANCE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # see `_TOLERANCE`
        classifier.fit(train, train_labels)
    hits: npt.NDArray[np.float64] = (classifier.predict(test) == test_labels).astype(np.float64)
    return hits


def chance(train_labels: Labels, test_labels: Labels) -> float:
    """Return the accuracy of always giving the class that is most frequent among the train rows."""
    values, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(test_labels == values[counts.argmax()]))
