import numpy as np
import pytest
from scipy import sparse

from isoenergy.metrics import gram_panels
from isoenergy.metrics.gram_panels import gram_at, gram_quantile, row_panels, unit_rows
from tests.metrics.cases import random_dictionary


@pytest.fixture(params=[1, 100, 4_000_000])
def panel_entries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_panels, "_PANEL_ENTRIES", request.param)


@pytest.fixture(params=["panels of 1", "panels of 100", "one panel", "the whole matrix"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "the whole matrix":
        monkeypatch.setattr(gram_panels, "_WHOLE_ENTRIES", 0)
        entries = {"panels of 1": 1, "panels of 100": 100, "one panel": 4_000_000}[request.param]
        monkeypatch.setattr(gram_panels, "_PANEL_ENTRIES", entries)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("atoms", [1, 2, 37])
@pytest.mark.parametrize("magnitudes", [False, True])
@pytest.mark.parametrize("quantile", [0, 0.001, 0.3, 0.9, 0.999, 1])
def test_quantile_is_that_of_the_sorted_matrix(atoms: int, magnitudes: bool, quantile: float) -> None:
    dictionary = random_dictionary(atoms, atoms, 5) * np.linspace(0.5, 2, atoms)[:, None]
    entries = dictionary @ dictionary.T
    ordered = np.sort(np.abs(entries) if magnitudes else entries, axis=None)
    expected = ordered[max(int(quantile * atoms**2), 1) - 1]
    assert gram_quantile(dictionary, quantile, magnitudes) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("panel_entries")
@pytest.mark.parametrize("spread", [0, 1e-12, 1e-6])
def test_a_bin_that_is_too_full_is_counted_in_finer_ones(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_panels, "_WHOLE_ENTRIES", 0)
    monkeypatch.setattr(gram_panels, "_KEPT_VALUES", 8)
    generator = np.random.default_rng(0)
    dictionary = np.ones((20, 4)) + spread * generator.normal(size=(20, 4))
    dictionary[0] = -dictionary[0]
    for quantile in (0.01, 0.1, 0.5, 0.9, 1):
        expected = np.sort(dictionary @ dictionary.T, axis=None)[max(int(quantile * 400), 1) - 1]
        assert gram_quantile(dictionary, quantile) == pytest.approx(expected, abs=1e-14)


@pytest.mark.usefixtures("way")
def test_quantile_of_a_float32_or_zero_dictionary() -> None:
    assert gram_quantile(np.zeros((3, 2)), 0.9) == 0
    single = random_dictionary(1, 10, 4).astype(np.float32)
    expected = np.sort(single.astype(float) @ single.astype(float).T, axis=None)[89]
    assert gram_quantile(single, 0.9) == pytest.approx(expected, abs=1e-14)


def test_a_quantile_must_be_a_share() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gram_quantile(np.eye(2), 90)


@pytest.mark.usefixtures("panel_entries")
@pytest.mark.parametrize("density", [0.0, 0.004, 0.5, 1.0])
def test_inner_products_where_a_pattern_has_entries(density: float) -> None:
    dictionary = random_dictionary(0, 60, 7)
    pattern = sparse.random_array((60, 60), density=density, rng=np.random.default_rng(1)).tocsr()
    rows, columns = pattern.tocoo().coords
    np.testing.assert_allclose(gram_at(dictionary, pattern), (dictionary @ dictionary.T)[rows, columns], atol=1e-12)


@pytest.mark.usefixtures("panel_entries")
@pytest.mark.parametrize("atoms", [0, 1, 101])
def test_panels_cover_the_rows_once(atoms: int) -> None:
    assert [row for panel in row_panels(atoms) for row in range(atoms)[panel]] == list(range(atoms))


def test_rows_of_zeros_stay_zeros() -> None:
    np.testing.assert_array_equal(unit_rows(np.array([[0, 0], [3, 4]])), [[0, 0], [0.6, 0.8]])
