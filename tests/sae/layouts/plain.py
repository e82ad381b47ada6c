"""What other libraries' autoencoders compute, written down plainly from their definitions: one row at a time."""

import numpy as np

Array = np.ndarray


def pursuit(x: Array, atoms: Array, rounds: int, threshold: float, ends_on_repeat: bool) -> Array:
    """SAELens's: positive coefficients; a row ends below the threshold, or once its support stays the same."""
    codes = np.zeros((len(x), len(atoms)))
    for code, row in zip(codes, x, strict=True):
        rest = row.astype(np.float64)
        for _ in range(rounds):
            best = int(np.argmax(atoms @ rest))
            value = max(float(atoms[best] @ rest), 0.0)
            before = code != 0
            code[best] += value
            rest = rest - value * atoms[best]
            if (ends_on_repeat and ((code != 0) == before).all()) or np.linalg.norm(rest) < threshold:
                break
    return codes


def top_k(scores: Array, k: int) -> Array:
    """The k largest of each row, negative ones 0."""
    kept = np.zeros_like(scores)
    for row, own in zip(kept, scores, strict=True):
        best = np.argsort(-own)[:k]
        row[best] = np.maximum(own[best], 0)
    return kept


def above(scores: Array, threshold: Array | float) -> Array:
    """The positive scores above a threshold."""
    return np.where(scores > np.maximum(threshold, 0), scores, 0)
