"""Pairs with known concepts."""

import numpy as np

from isoenergy.store import PairArrays


def planted(count: int, gap: float, seed: int = 0) -> PairArrays:
    """Pairs of four shared concepts and a constant of each modality, `gap` apart; other seeds draw others of them."""
    generator = np.random.default_rng(0)
    concepts = generator.normal(size=(4, 8))
    if seed:
        generator = np.random.default_rng(seed)
    mixture = generator.dirichlet([0.3] * 4, size=count) @ concepts
    noise = 0.05 * generator.normal(size=(2, count, 8))
    constant = np.array([gap / 2, 0, 0, 0, 0, 0, 0, 0])
    images, texts = mixture + noise[0] + constant, mixture + noise[1] - constant
    return PairArrays(np.array([str(n) for n in range(count)], object), images.astype("f2"), texts.astype("f2"))
