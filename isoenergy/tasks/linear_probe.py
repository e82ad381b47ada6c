"""Linear probes: what a linear classifier, trained on some images, reads out of others (paper 4.4).

The paper's probe was in all likelihood trained on the images that it was tested on; here the two are apart.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isoenergy.errors import InputError
from isoenergy.statistics.bootstrap import Floats, Interval
from isoenergy.statistics.weighted_sums import weighted_mean
from isoenergy.tasks.zero_shot import by_class

_ITERATIONS = 200
_TOLERANCE = 0.1
"""Of each derivative where the loss bends by about 1 (see `_fit`): 2 in 1,000 of the demo's test rows are on another
side than at the minimum, and its accuracies are within 0.001. A hundredth of it takes four times as long."""

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
    is half the squared weights, of two classes those of their difference, against the summed loss.
    Raises InputError if the train rows are of fewer than two classes, or a number is not finite.
    """
    classes, labels = np.unique(train_labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError("a linear probe needs train rows of at least two classes; embed more pairs, or name more")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise InputError("a linear probe was given rows that are not finite; leave those pairs out")
    mean, scale = _mean_and_scale(train)
    classifier = _fit((train - mean) / scale, labels, len(classes))
    given = classes[classifier.logits((test - mean) / scale).argmax(axis=1)]
    hits: npt.NDArray[np.float64] = (given == test_labels).astype(np.float64)
    return hits


def chance(train_labels: Labels, test_labels: Labels) -> float:
    """Return the accuracy of always giving the class that is most frequent among the train rows."""
    values, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(test_labels == values[counts.argmax()]))


class _Classifier(NamedTuple):
    weights: Floats
    """`(dim, classes)`"""
    bias: Floats
    """`(classes,)`"""

    def logits(self, rows: Rows) -> Rows:
        """`(n, classes)`"""
        found: Rows = rows @ self.weights.astype(rows.dtype) + self.bias.astype(rows.dtype)
        return found


def _mean_and_scale(rows: Rows) -> tuple[Rows, Rows]:
    """Return the mean of each feature and its standard deviation, 1 of one that does not vary but by rounding."""
    mean, variance = rows.mean(axis=0, dtype=np.float64), rows.var(axis=0, dtype=np.float64)
    rounding = np.square(len(rows) * mean * np.finfo(np.float64).eps)
    scale = np.sqrt(np.where(variance > rounding, variance, 1))
    return mean.astype(rows.dtype), scale.astype(rows.dtype)


def _fit(rows: Rows, labels: Labels, classes: int) -> _Classifier:
    """Minimise the loss by L-BFGS, along the rows' principal axes, each scaled so that the loss bends alike in all.

    As the rows are, it bends by thousands along some axes and by 1 along others, and L-BFGS takes many more steps.
    """
    from scipy.optimize import minimize

    n, dim = rows.shape
    share = np.bincount(labels) / n
    variances, axes = np.linalg.eigh((rows.T @ rows / n).astype(np.float64))
    penalty = np.append(np.full(dim, 2.0 if classes == 2 else 1.0), 0.0)[:, None]  # two classes share the difference's
    bends = n * np.append(np.maximum(variances, 0), 1.0)[:, None] * share * (1 - share)  # where all rows are as likely
    scale = 1 / np.sqrt(penalty + bends)
    turned = np.column_stack([rows @ axes.astype(rows.dtype), np.ones(n, rows.dtype)])
    begin = np.zeros_like(scale)
    begin[-1] = np.log(share) / scale[-1]
    found = minimize(
        _loss,
        begin.ravel(),
        (turned, labels, penalty, scale),
        "L-BFGS-B",
        jac=True,
        options={"gtol": _TOLERANCE, "ftol": 0.0, "maxiter": _ITERATIONS},
    ).x.reshape(scale.shape)
    weights = scale * found
    return _Classifier(axes @ weights[:-1], weights[-1])


def _loss(flat: Floats, rows: Rows, labels: Labels, penalty: Floats, scale: Floats) -> tuple[float, Floats]:
    """Return the summed cross-entropy and its penalty at flat `(dim, classes)` weights / scale, and its derivatives."""
    weights = scale * flat.reshape(scale.shape)
    logits = rows @ weights.astype(rows.dtype)
    logits -= logits.max(axis=1, keepdims=True)
    own = np.arange(len(rows)), labels
    right = logits[own].sum(dtype=np.float64)
    likely = np.exp(logits, out=logits)
    total = likely.sum(axis=1, keepdims=True)
    likely /= total
    likely[own] -= 1
    loss = np.log(total).sum(dtype=np.float64) - right + np.sum(penalty * np.square(weights)) / 2
    return float(loss), (scale * (rows.T @ likely + penalty * weights)).ravel()
