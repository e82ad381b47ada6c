"""Random dictionaries, codes and statistics in float64, with the edges in: dead atoms, repeats, unequal counts."""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from isoenergy.statistics.concept_statistics import ConceptStatistics, ModalityStatistics


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_dictionary(seed: int, atoms: int, dim: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(atoms, dim)))


def random_codes(seed: int, rows: int, atoms: int, k: int = 3, negative: bool = False) -> np.ndarray:
    """`(rows, atoms)` dense codes with at most `k` atoms a row."""
    generator = np.random.default_rng(seed)
    dense = np.zeros((rows, atoms))
    for row in dense:
        chosen = generator.choice(atoms, size=generator.integers(1, min(k, atoms) + 1), replace=False)
        row[chosen] = generator.gamma(2, size=len(chosen))
        if negative:
            row[chosen] *= generator.choice([-1, 1], size=len(chosen))
    return dense


def statistics_of(image: np.ndarray, text: np.ndarray) -> ConceptStatistics:
    """The statistics of dense codes; rows beyond the shorter modality's are not paired."""
    parts = [
        ModalityStatistics(len(z), z.sum(0), np.abs(z).sum(0), (z**2).sum(0), (z != 0).sum(0).astype(float))
        for z in (image, text)
    ]
    pairs = min(len(image), len(text))
    return ConceptStatistics(*parts, sparse.csr_array(image[:pairs].T @ text[:pairs]))


def modal_codes(seed: int, rows: int, atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and text codes in which a third of the atoms is of one modality, a third of the other, the last is dead."""
    image, text = random_codes(seed, rows, atoms, k=6), random_codes(seed + 1, rows, atoms, k=6)
    third = atoms // 3
    text[:, :third] = 0
    image[:, third : 2 * third] = 0
    image[:, -1] = text[:, -1] = 0
    return image, text


def plan_by_linear_program(a, b, mass_a, mass_b) -> tuple[np.ndarray, float]:
    """The cheapest plan from its definition: not negative, rows and columns sum to the masses."""
    n, m = len(a), len(b)
    cost = 1 - unit(a) @ unit(b).T
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    right = np.concatenate([mass_a / mass_a.sum(), mass_b / mass_b.sum()])
    found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=right, method="highs-ds")
    assert found.success
    return found.x.reshape(n, m), found.fun
