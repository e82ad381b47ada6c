import numpy as np
import pytest
from scipy import sparse

from isoenergy.metrics import dictionaries, gram_panels
from isoenergy.metrics.dictionaries import (
    babel,
    coactivation,
    coherence,
    connectivity,
    effective_rank,
    negative_interference,
    stable_rank,
)
from tests.metrics.cases import random_codes, random_dictionary, unit


@pytest.fixture(params=[1, 90, 4_000_000])
def panel_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_panels, "_PANEL_ENTRIES", request.param)


@pytest.mark.parametrize("weighted", [False, True])
def test_ranks_are_the_formulas(weighted: bool) -> None:
    dictionary = random_dictionary(0, 30, 7)
    energy = np.random.default_rng(1).gamma(0.5, size=30) if weighted else None
    m = dictionary * energy[:, None] if weighted else dictionary
    eigenvalues = np.linalg.eigvalsh(m.T @ m)
    assert stable_rank(dictionary, energy) == pytest.approx((m**2).sum() / eigenvalues.max(), abs=1e-9)
    p = np.sqrt(eigenvalues) / np.sqrt(eigenvalues).sum()
    assert effective_rank(dictionary, energy) == pytest.approx(np.exp(-sum(q * np.log(q) for q in p)), abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_ranks_at_their_ends() -> None:
    for rank in (stable_rank, effective_rank):
        assert rank(np.eye(5)) == pytest.approx(5)
        assert rank(np.ones((9, 4))) == pytest.approx(1, abs=1e-9)
        assert rank(np.ones((1, 4))) == pytest.approx(1)
        assert rank(np.eye(5), np.array([0, 2, 2, 0, 0])) == pytest.approx(2)
        assert np.isnan(rank(np.eye(5), np.zeros(5)))


@pytest.mark.usefixtures("panel_entries")
@pytest.mark.parametrize("atoms", [2, 3, 40])
def test_coherence_and_babel_are_the_formulas(atoms: int) -> None:
    dictionary = 3 * random_dictionary(atoms, atoms, 5)
    cosine = unit(dictionary) @ unit(dictionary).T
    others = [[cosine[i, j] for j in range(atoms) if j != i] for i in range(atoms)]
    assert coherence(dictionary) == pytest.approx(max(max(row) for row in others), abs=1e-12)
    expected = [max(sum(sorted(np.abs(row))[::-1][:k]) for row in others) for k in (1, 2, 3, 4, 60)]
    np.testing.assert_allclose(babel(dictionary, 60)[[0, 1, 2, 3, 59]], expected, atol=1e-9)


@pytest.mark.usefixtures("panel_entries")
def test_coherence_may_fall_below_zero() -> None:
    # the paper's code lets the zeroed diagonal compete and gives 0 (paper 1.10)
    triangle = np.array([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])
    assert coherence(triangle) == pytest.approx(-0.5)
    assert babel(triangle, 3) == pytest.approx([0.5, 1, 1])
    assert coherence(np.ones((3, 2))) == pytest.approx(1)


def test_one_atom_has_no_others() -> None:
    assert np.isnan(coherence(np.ones((1, 3))))
    assert babel(np.ones((1, 3)), 2).tolist() == [0, 0]


@pytest.mark.parametrize("negative", [False, True])
def test_coactivation_and_connectivity_are_the_formulas(negative: bool) -> None:
    codes = random_codes(0, 25, 30, negative=negative)
    found = coactivation(sparse.csr_array(codes))
    np.testing.assert_allclose(found.toarray(), codes.T @ codes / 25, atol=1e-12)
    met = sum(bool((codes.T @ codes)[i, j]) for i in range(30) for j in range(30))
    assert connectivity(found) == pytest.approx(1 - met / 900, abs=1e-12)


def test_products_that_cancel_do_not_meet_and_repeated_atoms_add_up() -> None:
    codes = sparse.csr_array(np.array([[1.0, 1], [1, -1]]))
    assert connectivity(coactivation(codes)) == 0.5
    repeated = sparse.csr_array((np.array([1.0, 2]), np.array([0, 0]), np.array([0, 2])), (1, 1))
    assert coactivation(repeated).toarray() == 9


@pytest.mark.usefixtures("panel_entries")
@pytest.mark.parametrize(("atoms", "dense_size"), [(30, 64), (30, 0), (90, 64), (2, 64)])
def test_negative_interference_is_the_formula(atoms: int, dense_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "_DENSE_SIZE", dense_size)
    codes, dictionary = random_codes(2, 200, atoms), random_dictionary(3, atoms, 5)
    if atoms == 2:
        dictionary[1] = -dictionary[0]
    matrix = np.maximum(-(codes.T @ codes / 200) * (dictionary @ dictionary.T), 0)
    expected = np.linalg.svd(matrix, compute_uv=False).max()
    assert expected > 0
    found = negative_interference(coactivation(sparse.csr_array(codes)), dictionary)
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_norm_of_blocks_that_do_not_meet_is_the_larger_one_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "_DENSE_SIZE", 0)
    pairs = np.kron(np.eye(5), np.ones((2, 2))) * np.repeat([1, 2, 5, 5, 3], 2)[:, None]
    dictionary = np.tile([[1.0], [-1.0]], (5, 1))
    assert negative_interference(sparse.csr_array(pairs), dictionary) == pytest.approx(5, abs=1e-9)


def test_nothing_cancels_without_opposite_atoms_or_codes() -> None:
    codes = sparse.csr_array(random_codes(0, 20, 6))
    assert negative_interference(coactivation(codes), np.ones((6, 2))) == 0
    empty = coactivation(sparse.csr_array((0, 6)))
    assert negative_interference(empty, np.eye(6)) == 0
    assert connectivity(empty) == 1
