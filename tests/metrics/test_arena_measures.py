"""The arena's measures against plain loops and known answers."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from isoenergy.metrics.clusters import clusters_of_both
from isoenergy.metrics.code_matching import code_correlations, matched_columns
from isoenergy.metrics.concept_recovery import concept_recovery
from isoenergy.metrics.gap_parts import gap_parts
from isoenergy.metrics.joint_gallery import own_modality_share
from isoenergy.metrics.modality_dominance import modality_dominance
from isoenergy.metrics.monosemanticity import multimodal_monosemanticity
from isoenergy.metrics.steering import steering
from isoenergy.metrics.translation import linear_translation, translation_r2

RANDOM = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sparse(rows: int, atoms: int) -> np.ndarray:
    return RANDOM.normal(size=(rows, atoms)) * (RANDOM.random((rows, atoms)) < 0.4)


@pytest.mark.parametrize("across", [True, False])
def test_monosemanticity_is_the_double_sum(across: bool) -> None:
    a, b = sparse(12, 5), sparse(12, 5)
    a[:, 4] = 0
    u, v = unit(RANDOM.normal(size=(12, 3))), unit(RANDOM.normal(size=(12, 3)))
    b, v = (b, v) if across else (a, u)
    expected = []
    for j in range(5):
        weight = {(m, n): abs(a[m, j] * b[n, j]) for m in range(12) for n in range(12) if across or m != n}
        total = sum(weight.values())
        expected.append(sum(w * (u[m] @ v[n]) for (m, n), w in weight.items()) / total if total else 0.0)
    found = multimodal_monosemanticity(a, u, b, v) if across else multimodal_monosemanticity(a, u)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found[4] == 0


def test_an_atom_that_fires_for_one_input_alone_has_no_score_within_a_modality() -> None:
    codes = np.zeros((6, 1))
    codes[2] = 3.0
    assert multimodal_monosemanticity(codes, unit(RANDOM.normal(size=(6, 4)))) == 0


def test_dominance_weighs_pairs_alike() -> None:
    image, text = np.array([[3.0], [0], [0], [1]]), np.array([[1.0], [0], [-2], [-1]])
    assert modality_dominance(image, text) == pytest.approx([(0.75 + 0 + 0.5) / 3])
    assert np.isnan(modality_dominance(np.zeros((2, 1)), np.zeros((2, 1)))).all()


def test_codes_are_matched_by_their_correlations() -> None:
    image = sparse(200, 6)
    order = RANDOM.permutation(6)
    text = image[:, order] * 3 + 0.01 * RANDOM.normal(size=(200, 6)) + 5
    text[:, 0] = 7.0  # never varies
    correlations = code_correlations(image, text)
    for i in range(6):
        for j in range(1, 6):
            assert correlations[i, j] == pytest.approx(np.corrcoef(image[:, i], text[:, j])[0, 1])
    assert (correlations[:, 0] == 0).all()
    found = matched_columns(correlations)
    assert (order[found] == np.arange(6)).all()  # the one left over gets the column that never varies
    rows, columns = linear_sum_assignment(-correlations)
    assert (found[rows] == columns).all()


def test_own_modality_share_of_cones_and_of_one_cloud() -> None:
    cloud = torch.randn(2, 200, 8, generator=torch.Generator().manual_seed(0))
    shift = torch.zeros(8)
    shift[0] = 9
    assert own_modality_share(cloud[0] + shift, cloud[1] - shift) == 1
    assert own_modality_share(cloud[0], cloud[1]) == pytest.approx(0.5, abs=0.03)
    a, b = cloud[0][:30], cloud[1][:30]
    rows = unit(torch.cat([a, b]).double().numpy())
    shares = []
    for i, row in enumerate(rows):
        nearest = [j for j in np.argsort(-(rows @ row)) if j not in (i, (i + 30) % 60)][:10]
        shares.append(np.mean([(j < 30) == (i < 30) for j in nearest]))
    assert own_modality_share(a.double(), b.double()) == pytest.approx(np.mean(shares))
    same = torch.ones(20, 3)
    assert own_modality_share(same, same) == pytest.approx(0.5)  # all as near: by chance


def test_the_gap_has_two_parts_that_add_up() -> None:
    a, b = RANDOM.normal(size=(40, 5)), 2 * RANDOM.normal(size=(40, 5)) + 1
    parts = gap_parts(a, b)
    cost = cdist(a, b, "sqeuclidean")
    rows, columns = linear_sum_assignment(cost)
    assert parts.centroid + parts.distribution == pytest.approx(cost[rows, columns].mean())
    moved = gap_parts(a, a + 3)
    assert moved.centroid == pytest.approx(45)
    assert moved.distribution == pytest.approx(0, abs=1e-9)


def test_translation_r2_of_the_rows_and_of_their_mean() -> None:
    rows = RANDOM.normal(size=(30, 4))
    assert translation_r2(rows, rows) == 1
    assert translation_r2(rows, np.broadcast_to(rows.mean(0), rows.shape)) == pytest.approx(0)


def test_a_linear_translation_is_ridge_in_both_forms() -> None:
    codes, rows = RANDOM.normal(size=(12, 20)), RANDOM.normal(size=(12, 3))
    weights, offset = linear_translation(codes, rows, ridge=0.1)
    z, x = codes - codes.mean(0), rows - rows.mean(0)
    expected = np.linalg.solve(z.T @ z + 0.1 * np.square(z).sum() * np.eye(20), z.T @ x)
    np.testing.assert_allclose(weights, expected, atol=1e-10)
    np.testing.assert_allclose(codes.mean(0) @ weights + offset, rows.mean(0))
    many = RANDOM.normal(size=(500, 4))
    truth = RANDOM.normal(size=(4, 3))
    weights, offset = linear_translation(many, many @ truth + 2, ridge=1e-9)
    np.testing.assert_allclose(weights, truth, atol=1e-5)
    np.testing.assert_allclose(offset, 2, atol=1e-5)


def test_clusters_of_meaning_and_of_modality() -> None:
    labels = np.repeat([0, 1, 2, -1], 25)
    meaning = np.eye(8)[np.repeat([0, 1, 2, 3], 25)] + 0.01 * RANDOM.normal(size=(100, 8))
    found = clusters_of_both(meaning, meaning, labels, 4, seed=0)
    assert found.v_measure == pytest.approx(1)
    assert found.ari == pytest.approx(1)
    assert found.pairs == pytest.approx(1)
    assert found.modality == pytest.approx(0, abs=0.01)
    cones = np.eye(8)[[6]] * 5
    apart = clusters_of_both(meaning + cones, meaning - cones, labels, 2, seed=0)
    assert apart.modality == pytest.approx(1)
    assert apart.ari < 0.1
    assert np.isnan(clusters_of_both(meaning, meaning, np.full(100, -1), 4, seed=0).ari)


def test_concepts_are_found_in_both_and_joined_in_one_column() -> None:
    images, texts = np.eye(6)[:3], np.eye(6)[3:]
    one = np.vstack([images, texts])
    assert concept_recovery(one, one, images, texts) == (1, 0)
    assert concept_recovery(images, texts, images, texts) == (1, 1)
    assert concept_recovery(images, texts[[1, 0, 2]], images, texts) == pytest.approx((1, 1 / 3))
    assert concept_recovery(images[:2], texts[:2], images, texts) == pytest.approx((2 / 3, 2 / 3))
    bisectors = images + texts
    assert concept_recovery(bisectors, bisectors, images, texts) == (0, 0)


def test_steering_brings_texts_of_the_concept_and_costs_the_own() -> None:
    dictionary, codes = torch.eye(6), torch.zeros(60, 6)
    codes[torch.arange(60), torch.arange(60) % 5] = 1.0  # nobody has atom 5 but the last 12
    codes[48:, 5] = 1.0
    texts = codes @ dictionary + 0.01 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    has = (codes[:, [5]] > 0).numpy()
    queries = np.arange(40)

    def run(strength: float, atoms: torch.Tensor):  # type: ignore[no-untyped-def]
        return steering(codes, lambda z: z @ atoms, texts, has, [5], [strength], queries)

    strong, none = run(20.0, dictionary), run(0.0, dictionary)
    assert none == (0, 0)
    assert strong.success > 0.7
    assert strong.collateral > 0.5
    unable = dictionary.clone()
    unable[5] = 0
    assert run(20.0, unable) == (0, 0)  # the atom's direction brings nothing
    assert np.isnan(steering(codes, lambda z: z, texts, has[:, :0], [], [], queries).success)
