import numpy as np
import pytest
import torch
from scipy import sparse

from isoenergy.metrics import attribution
from isoenergy.metrics.attribution import faithfulness_curves, integrated_gradients
from isoenergy.pursuit import matching_pursuit
from isoenergy.statistics.concept_statistics import code_matrix
from tests.metrics.cases import random_codes, random_dictionary

ATOMS, DIM, ROWS = 20, 6, 15


def case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense codes, some of which do harm; embeddings; a dictionary."""
    codes, dictionary = random_codes(seed, ROWS, ATOMS, k=5), random_dictionary(seed + 1, ATOMS, DIM)
    return codes, codes @ dictionary + np.random.default_rng(seed + 2).normal(size=(ROWS, DIM)), dictionary


def plain_gradients(codes: np.ndarray, x: np.ndarray, dictionary: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Minus the code times the mean gradient of the squared error along the way, by automatic differentiation."""
    z, target, d = (torch.from_numpy(array) for array in (codes, x, dictionary))
    total = torch.zeros_like(z)
    for alpha in alphas:
        scaled = (alpha * z).requires_grad_()
        (target - scaled @ d).square().sum().backward()
        total += scaled.grad
    return (-z * total / len(alphas)).numpy()


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_integral(seed: int) -> None:
    codes, x, dictionary = case(seed)
    points, weights = np.polynomial.legendre.leggauss(4)  # exact for polynomials up to degree 7
    expected = sum(
        weight / 2 * plain_gradients(codes, x, dictionary, np.array([(point + 1) / 2]))
        for point, weight in zip(points, weights, strict=True)
    )
    found = integrated_gradients(sparse.csr_array(codes), x, dictionary)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-9)
    reconstruction = codes @ dictionary
    fall = (x**2).sum(1) - ((x - reconstruction) ** 2).sum(1)
    np.testing.assert_allclose(found.sum(axis=1), fall, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 10])
def test_the_paper_s_sum_over_steps(steps: int) -> None:
    codes, x, dictionary = case(4)
    expected = plain_gradients(codes, x, dictionary, np.arange(1, steps + 1) / steps)
    found = integrated_gradients(sparse.csr_array(codes), x, dictionary, steps)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-9)


def plain_curves(codes, x, dictionary, steps: int | None) -> tuple[list[float], list[float]]:
    alphas = np.arange(1, steps + 1) / steps if steps else np.array([0.5])
    gains = plain_gradients(codes, x, dictionary, alphas)
    insertion, deletion = [], []
    for k in range((codes != 0).sum(1).max() + 1):
        kept, removed = np.zeros_like(codes), codes.copy()
        for row in range(len(codes)):
            atoms = sorted(np.flatnonzero(codes[row]), key=lambda atom: (-gains[row, atom], atom))[:k]
            kept[row, atoms] = codes[row, atoms]
            removed[row, atoms] = 0
        total = ((x - x.mean()) ** 2).mean() + 1e-6
        insertion.append(1 - ((x - kept @ dictionary) ** 2).mean() / total)
        deletion.append(1 - ((x - removed @ dictionary) ** 2).mean() / total)
    return insertion, deletion


@pytest.mark.parametrize("block_entries", [1, 100, 4_000_000])
@pytest.mark.parametrize("steps", [None, 10])
def test_curves_are_those_of_a_loop_over_rows(
    block_entries: int, steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "_BLOCK_ENTRIES", block_entries)
    codes, x, dictionary = case(7)
    codes[3] = 0
    curves = faithfulness_curves(sparse.csr_array(codes), x, dictionary, steps)
    insertion, deletion = plain_curves(codes, x, dictionary, steps)
    np.testing.assert_allclose(curves.insertion, insertion, atol=1e-9)
    np.testing.assert_allclose(curves.deletion, deletion, atol=1e-9)
    assert curves.insertion[-1] == pytest.approx(curves.deletion[0])
    assert curves.insertion[0] == pytest.approx(curves.deletion[-1])


def test_the_score_is_the_mean_of_all_points() -> None:
    # the paper's code sums k = 0 … K - 1 and divides by K + 1: a perfect code of one atom would score 0 (paper 5.3, 19)
    curves = faithfulness_curves(sparse.csr_array(np.eye(2)), np.eye(2), np.eye(2))
    expected = np.array([1 - 0.5 / (0.25 + 1e-6), 1])
    np.testing.assert_allclose(curves.insertion, expected)
    np.testing.assert_allclose(curves.deletion, expected[::-1])
    assert curves.c_insertion == pytest.approx(expected.mean())
    assert curves.c_deletion == pytest.approx(expected.mean())
    assert curves.insertion[:-1].sum() / 2 < curves.c_insertion - 0.4


def test_atoms_that_do_harm_come_last() -> None:
    codes = sparse.csr_array(np.array([[-1.0, 1]]))
    curves = faithfulness_curves(codes, np.array([[1.0, 1]]), np.eye(2))
    assert curves.insertion[1] > curves.insertion[2]
    assert curves.deletion[1] < curves.deletion[2]


def test_ties_go_by_index() -> None:
    codes, x = sparse.csr_array(np.array([[1.0, 1, 1]])), np.array([[1.0, 1, 1]])
    scale = np.array([[1.0, 1, 1]])
    assert np.isfinite(faithfulness_curves(codes, x, np.diag(scale[0])).insertion).all()
    reordered = sparse.csr_array((np.ones(3), np.array([2, 0, 1]), np.array([0, 3])), (1, 3))
    np.testing.assert_array_equal(
        faithfulness_curves(reordered, x, np.eye(3)).insertion, faithfulness_curves(codes, x, np.eye(3)).insertion
    )


@pytest.mark.filterwarnings("error")
def test_no_codes_and_no_rows() -> None:
    curves = faithfulness_curves(sparse.csr_array((2, 3)), np.eye(2), np.ones((3, 2)))
    assert curves.insertion.shape == (1,)
    assert curves.c_insertion == curves.c_deletion == pytest.approx(1 - 0.5 / (0.25 + 1e-6))
    assert np.isnan(faithfulness_curves(sparse.csr_array((0, 3)), np.zeros((0, 2)), np.ones((3, 2))).c_insertion)


def test_codes_of_a_pursuit_with_repeated_atoms() -> None:
    x = torch.from_numpy(case(9)[1])
    dictionary = torch.from_numpy(random_dictionary(11, 5, DIM))
    codes = matching_pursuit(x, dictionary, 4)
    matrix = code_matrix(codes, 5)
    dense = codes.to_dense(5).numpy()
    assert (dense != 0).sum(1).min() < 4
    curves = faithfulness_curves(matrix, x.numpy(), dictionary.numpy())
    insertion, _ = plain_curves(dense, x.numpy(), dictionary.numpy(), None)
    np.testing.assert_allclose(curves.insertion, insertion, atol=1e-9)
    explained = 1 - codes.residual.square().mean() / ((x - x.mean()).square().mean() + 1e-6)
    assert curves.insertion[-1] == pytest.approx(float(explained), abs=1e-9)
    assert (np.diff(matrix.indptr) == 4).all()  # the codes given stay as they were
