"""How much of known atoms a learned dictionary has recovered: W and mma, in all their variants (paper 2.3).

The paper does not say what its two numbers compare, so each variant has a name here, and all are measured. Against:

- parts, the paper's D: each concept's shared atom, and what each modality adds to it. A row of it has up to twice the
  atoms of a learned row, so no learned dictionary can have its codes.
- instances, the paper's D′: an image and a text atom for each concept. A dictionary that has merged them, as it should
  where they are nearly one (τ₁ near 1), can match only one of a concept's two columns, with a cosine of about 0.71,
  since its own column fires in both modalities: unweighted mma then ends near 0.5, at perfect recovery.
- merged: one atom for each concept. A dictionary that keeps two instances apart, as it should where they are two atoms
  (τ₁ near 0.5), is likewise held to about 0.81: only the biases can reach 1.

`recovery` of one truth by another gives these ends for given data.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from isoenergy.metrics.transport import transport_plan

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Concepts:
    """A dictionary, learned or true, with its codes of the same pairs.

    dictionary: `(atoms, dim)`. image_codes, text_codes: `(pairs, atoms)`.
    """

    dictionary: Floats
    image_codes: sparse.csr_array
    text_codes: sparse.csr_array

    @property
    def codes(self) -> sparse.csr_array:
        """`(2 · pairs, atoms)`: images, then texts."""
        return sparse.vstack([self.image_codes, self.text_codes], format="csr")

    @property
    def energy(self) -> Floats:
        """`(atoms,)` mean squared coefficient over all rows."""
        energy: Floats = column_squares(self.codes) / max(self.image_codes.shape[0] + self.text_codes.shape[0], 1)
        return energy


def column_squares(codes: sparse.csr_array) -> Floats:
    """Return the `(atoms,)` sums of squares of the columns."""
    return np.asarray(codes.power(2).sum(0), np.float64).ravel()


def transport(dictionary: Floats, energy: Floats, true_dictionary: Floats, true_energy: Floats) -> float:
    """Return W: the exact cost of moving one dictionary's energy onto another's, 1 - cosine a unit; in [0, 2].

    dictionary, true_dictionary: `(atoms, dim)`; energy, true_energy: `(atoms,)`, which are scaled to sum 1, so atoms
    that never fire do not count. NaN if either has no energy. Source: paper 2.3.
    """
    return transport_plan(dictionary, true_dictionary, energy, true_energy)[1]


def cosines(rows: Floats, others: Floats) -> Floats:
    """Return the `(rows, others)` cosines of `(…, dim)` rows; 0 with a row of zeros."""
    one, other = (
        part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        for part in (np.asarray(rows, np.float64), np.asarray(others, np.float64))
    )
    products: Floats = one @ other.T
    return products


def code_cosines(codes: sparse.csr_array, others: sparse.csr_array) -> Floats:
    """Return the `(atoms, other atoms)` cosines of two codes' columns over the same rows; 0 with an empty column."""
    inner = (codes.T @ others).toarray()
    norms = [np.sqrt(column_squares(part)) for part in (codes, others)]
    floor = np.finfo(np.float64).tiny
    similarity: Floats = inner / np.maximum(norms[0], floor)[:, None] / np.maximum(norms[1], floor)
    return similarity


def matched(similarity: Floats) -> Floats:
    """Return each true atom's similarity to the learned atom that is assigned to it, `(true atoms,)`.

    similarity: `(true atoms, learned atoms)`. The assignment is one to one, with the largest sum; a true atom that is
    left over, as there are fewer learned ones, gets 0.
    """
    out = np.zeros(len(similarity))
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    out[rows] = similarity[rows, columns]
    return out


def recovery(learned: Concepts, truth: Concepts) -> dict[str, float]:
    """Return W and the four mma of one learned dictionary against one truth.

    transport: see `transport`. codes: mean over the true atoms that fire of the cosine of their column of codes, over
    all images and texts, with that of the atom assigned to it: the paper's mma, in [0, 1] for codes that are not
    negative. atoms: the same for the atoms themselves, by their direction; it does not see which atoms are used.
    …_weighted: by the true atoms' energies instead of alike; a truth's many faint atoms (parts at τ₁ near 1 has twice
    40 with a hundredth of the energy) then do not decide it. Source: paper 2.3.
    """
    energy, own = truth.energy, learned.energy
    live, own_live = energy > 0, own > 0
    weights = energy[live]
    results = {"transport": transport(learned.dictionary, own, truth.dictionary, energy)}
    similarities = {
        "codes": code_cosines(truth.codes, learned.codes)[np.ix_(live, own_live)],
        "atoms": cosines(truth.dictionary, learned.dictionary)[np.ix_(live, own_live)],
    }
    for name, similarity in similarities.items():
        found = matched(similarity)
        results[name] = float(found.mean()) if len(found) else float("nan")
        results[f"{name}_weighted"] = float(found @ weights / weights.sum()) if len(found) else float("nan")
    return results


def recoveries(learned: Concepts, truths: Mapping[str, Concepts]) -> dict[str, dict[str, float]]:
    """Return `recovery` against each of several truths."""
    return {name: recovery(learned, truth) for name, truth in truths.items()}


def collapse_rate(images: Floats, texts: Floats, dictionary: Floats, one_from: float = 0.9) -> float:
    """Return the share of split concepts that a dictionary has collapsed onto their bisector; in [0, 1].

    images, texts: `(concepts, dim)`, the two instances of each concept. dictionary: `(atoms, dim)`, learned atoms that
    fire. A concept is collapsed if one and the same atom has the largest cosine with both of its instances, and is
    nearer to their bisector than to either: an atom that is one of the instances, the other being missed, is none.
    one_from: concepts whose instances have this cosine or more are one atom: they are left out.
    NaN if no concept is split. Source: the collapse of Lee et al. 2026 (2606.29888).
    """
    split = np.diagonal(cosines(images, texts)) < one_from
    if not split.any():
        return float("nan")
    if not len(dictionary):
        return 0.0
    instances = [part[split] / np.linalg.norm(part[split], axis=1, keepdims=True) for part in (images, texts)]
    by_image, by_text, by_bisector = (cosines(part, dictionary) for part in (*instances, instances[0] + instances[1]))
    nearest, rows = by_image.argmax(1), np.arange(len(by_image))
    between = by_bisector[rows, nearest] > np.maximum(by_image[rows, nearest], by_text[rows, nearest])
    return float((between & (nearest == by_text.argmax(1))).mean())
