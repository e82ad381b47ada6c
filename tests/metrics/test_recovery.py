from dataclasses import replace
from itertools import permutations

import numpy as np
import ot
import pytest
import torch
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.metrics.recovery import (
    Concepts,
    code_cosines,
    collapse_rate,
    cosines,
    matched,
    recoveries,
    recovery,
    transport,
)
from isoenergy.statistics.concept_statistics import merged_code_matrix
from isoenergy.synthetic.generator import SyntheticConfig, generate

RANDOM = np.random.default_rng(0)


def random_concepts(atoms: int, pairs: int = 60, dim: int = 7, density: float = 0.3) -> Concepts:
    def codes() -> sparse.csr_array:
        dense = RANDOM.random((pairs, atoms)) * (RANDOM.random((pairs, atoms)) < density)
        return sparse.csr_array(dense)

    return Concepts(RANDOM.normal(size=(atoms, dim)), codes(), codes())


def plain_recovery(learned: Concepts, truth: Concepts) -> dict[str, float]:
    """All five, dense and atom by atom; the best assignment by trying each of them."""
    z, true_z = (np.concatenate([c.image_codes.toarray(), c.text_codes.toarray()]) for c in (learned, truth))
    energy, true_energy = (np.mean(codes**2, axis=0) for codes in (z, true_z))
    own, live = np.flatnonzero(energy), np.flatnonzero(true_energy)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))

    cost = np.array([[1 - cosine(learned.dictionary[a], truth.dictionary[b]) for b in live] for a in own])
    result = {
        "transport": float(
            (ot.emd(energy[own] / energy.sum(), true_energy[live] / true_energy.sum(), cost) * cost).sum()
        )
    }
    for name, columns, true_columns in (
        ("codes", z.T, true_z.T),
        ("atoms", learned.dictionary, truth.dictionary),
    ):
        similarity = np.array([[cosine(true_columns[b], columns[a]) for a in own] for b in live])
        best = max(
            (similarity[np.arange(len(live)), list(order)] for order in permutations(range(len(own)), len(live))),
            key=lambda found: found.sum(),
        )
        result[name] = float(np.mean(best))
        result[f"{name}_weighted"] = float(np.sum(best * true_energy[live]) / true_energy.sum())
    return result


@pytest.mark.parametrize(("atoms", "true_atoms"), [(6, 6), (7, 4), (5, 5), (1, 1)])
def test_recovery_equals_a_plain_implementation(atoms: int, true_atoms: int) -> None:
    learned, truth = random_concepts(atoms), random_concepts(true_atoms)
    assert recovery(learned, truth) == pytest.approx(plain_recovery(learned, truth), abs=1e-12)


def test_dead_atoms_change_nothing_on_either_side() -> None:
    learned, truth = random_concepts(5), random_concepts(4)

    def with_dead(concepts: Concepts) -> Concepts:
        empty = sparse.csr_array((60, 2))
        dictionary = np.concatenate([concepts.dictionary, np.ones((1, 7)), np.zeros((1, 7))])
        codes = [sparse.hstack([c, empty], format="csr") for c in (concepts.image_codes, concepts.text_codes)]
        return Concepts(dictionary, codes[0], codes[1])

    assert recovery(with_dead(learned), with_dead(truth)) == pytest.approx(recovery(learned, truth), abs=1e-12)


def test_recovery_ignores_order_and_scale_and_is_perfect_on_itself() -> None:
    truth = random_concepts(6)
    order = RANDOM.permutation(6)
    same = Concepts(3 * truth.dictionary[order], *(2 * c[:, order] for c in (truth.image_codes, truth.text_codes)))
    expected = dict.fromkeys(("codes", "codes_weighted", "atoms", "atoms_weighted"), 1.0) | {"transport": 0.0}
    assert recovery(same, truth) == pytest.approx(expected, abs=1e-9)


def test_true_atoms_beyond_the_learned_ones_count_as_missed() -> None:
    truth = random_concepts(6)
    half = Concepts(truth.dictionary[:3], truth.image_codes[:, :3], truth.text_codes[:, :3])
    scores = recovery(half, truth)
    assert scores["codes"] >= 0.5 - 1e-12
    assert scores["codes_weighted"] == pytest.approx(truth.energy[:3].sum() / truth.energy.sum(), abs=0.3)
    np.testing.assert_array_equal(np.sort(matched(np.array([[1.0], [0.5], [0.2]]))), [0, 0, 1.0])


def test_a_dictionary_that_never_fires_recovers_nothing() -> None:
    truth, dead = random_concepts(4), random_concepts(3, density=0)
    scores = recovery(dead, truth)
    assert np.isnan(scores.pop("transport"))
    assert set(scores.values()) == {0.0}
    assert all(np.isnan(value) for value in recovery(truth, dead).values())


def test_transport_moves_energy_to_where_it_is_wanted() -> None:
    axes = np.eye(2)
    assert transport(axes, np.array([1.0, 3.0]), axes, np.array([2.0, 2.0])) == pytest.approx(0.25)
    assert transport(axes, np.array([0.0, 1.0]), -axes, np.array([0.0, 5.0])) == pytest.approx(2)
    assert transport(axes, np.array([1.0, 1.0]), axes[::-1], np.array([1.0, 1.0])) == pytest.approx(0)


def test_cosines_of_codes_are_those_of_dense_columns() -> None:
    one, other = random_concepts(5).codes, random_concepts(8).codes
    np.testing.assert_allclose(code_cosines(one, other), cosines(one.toarray().T, other.toarray().T), atol=1e-12)


def test_a_repeated_atom_is_one_coefficient() -> None:
    codes = SparseCodes(
        torch.tensor([[2, 0, 2], [1, 1, 1]], dtype=torch.int32),
        torch.tensor([[1.0, 2.0, 0.5], [1.0, -1.0, 3.0]], requires_grad=True),
        torch.zeros(2, 4),
    )
    matrix = merged_code_matrix(codes, 4)
    np.testing.assert_array_equal(matrix.toarray(), codes.to_dense(4).detach().numpy())
    assert matrix.has_canonical_format
    np.testing.assert_allclose(Concepts(np.eye(4), matrix, matrix).energy, [2, 4.5, 1.125, 0])


@pytest.mark.parametrize("instance_cosine", [1.0, 0.99])
def test_merged_concepts_are_capped_near_a_half_against_their_instances(instance_cosine: float) -> None:
    truths = generate(replace(SyntheticConfig(), pairs=3000, instance_cosine=instance_cosine), 0).truths
    scores = recoveries(truths["merged"], truths)
    # 20 biases are found, of 40 concepts one instance each at 1/√2, the other 40 instances are left over
    assert scores["instances"]["codes"] == pytest.approx((20 + 40 / np.sqrt(2)) / 100, abs=0.01)
    assert scores["instances"]["transport"] < 0.002
    assert scores["merged"]["codes"] == pytest.approx(1)
    assert scores["parts"]["codes_weighted"] > 0.99
    if instance_cosine == 1:  # what the modalities add has no energy: there is nothing to find
        assert scores["parts"]["codes"] == pytest.approx(1)
    else:  # 80 of the 140 atoms, with a hundredth of the energy, are not there
        assert scores["parts"]["codes"] == pytest.approx(60 / 140, abs=0.01)
        assert recoveries(truths["parts"], truths)["merged"]["codes"] == pytest.approx(1)


def test_separate_instances_are_capped_against_merged_concepts() -> None:
    truths = generate(replace(SyntheticConfig(), pairs=3000, instance_cosine=0.5), 0).truths
    scores = recoveries(truths["instances"], truths)
    assert scores["instances"]["codes"] == pytest.approx(1)
    assert scores["merged"]["codes"] == pytest.approx((20 + 40 / np.sqrt(2)) / 60, abs=0.02)


def instances(cosine: float) -> tuple[np.ndarray, np.ndarray]:
    """Three concepts in planes of their own, whose instances have this cosine."""
    axes, sine = np.eye(6), np.sqrt(1 - cosine**2)
    return axes[::2], cosine * axes[::2] + sine * axes[1::2]


def test_a_concept_is_collapsed_if_one_atom_between_its_instances_serves_both() -> None:
    images, texts = instances(0.5)
    bisectors = images + texts
    assert collapse_rate(images, texts, bisectors) == 1
    assert collapse_rate(images, texts, np.concatenate([images, texts])) == 0
    mixed = np.concatenate([bisectors[:1], images[1:], texts[1:]])
    assert collapse_rate(images, texts, mixed) == pytest.approx(1 / 3)
    assert collapse_rate(3 * images, 0.1 * texts, 7 * mixed) == pytest.approx(1 / 3)


def test_an_instance_without_its_partner_is_missed_and_not_collapsed() -> None:
    images, texts = instances(0.5)
    assert collapse_rate(images, texts, images) == 0
    assert collapse_rate(images, texts, 0.6 * images + texts) == 1  # 8° from the bisector, 22° from the text
    assert collapse_rate(images, texts, 0.3 * images + texts) == 0  # 17° and 13°


def test_an_atom_at_the_bisector_collapses_nothing_while_both_instances_have_nearer_ones() -> None:
    images, texts = instances(0.3)
    assert collapse_rate(images, texts, np.concatenate([images + texts, images, texts])) == 0
    assert collapse_rate(images, texts, np.concatenate([images + texts, images])) == 0


def test_concepts_that_are_one_atom_cannot_collapse() -> None:
    images, texts = instances(1.0)
    assert np.isnan(collapse_rate(images, texts, images))
    split = instances(0.5)
    images = np.concatenate([images[:1], split[0][1:]])
    texts = np.concatenate([texts[:1], split[1][1:]])
    assert collapse_rate(images, texts, images + texts) == 1
    assert collapse_rate(images, texts, np.concatenate([(images + texts)[:2], images[2:], texts[2:]])) == 0.5
    assert np.isnan(collapse_rate(*instances(0.5), images, one_from=0.4))


def test_a_dictionary_without_live_atoms_collapses_nothing() -> None:
    assert collapse_rate(*instances(0.5), np.empty((0, 6))) == 0
