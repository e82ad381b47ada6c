from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.equal_energy import PairedEnergy, equal_energy_tests


def codes_of(dense: np.ndarray) -> SparseCodes:
    """Dense `(rows, atoms)` coefficients as codes, each coefficient in two equal parts."""
    rows, atoms = dense.shape
    indices = torch.arange(atoms, dtype=torch.int32).repeat(rows, 2)
    values = torch.from_numpy(np.concatenate([dense, dense], axis=1) / 2)
    return SparseCodes(indices, values, torch.empty(rows, 0))


def sums_of(image: np.ndarray, text: np.ndarray) -> PairedEnergy:
    sums = PairedEnergy.zeros(image.shape[1])
    sums.update(codes_of(image), codes_of(text))
    return sums


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Atoms: equal and paired, equal and rare, twice the energy, image only, text only, dead, identical."""
    random = np.random.default_rng(0)
    rows = 4000
    size = random.gamma(2.0, size=(rows, 7))
    fires = random.random((rows, 7)) < [0.5, 0.002, 0.5, 0.3, 0.3, 0.0, 0.4]
    image = size * fires
    text = size * (1 + 0.3 * random.normal(size=(rows, 7))) * fires
    image[:, 2] *= 2**0.5
    text[:, 3], image[:, 4] = 0, 0
    text[:, 0] *= (image[:, 0] ** 2).mean() ** 0.5 / (text[:, 0] ** 2).mean() ** 0.5
    text[:, 6] = image[:, 6]
    return image, text


def test_the_test_is_the_paired_one(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    image, text = pairs
    tests = equal_energy_tests(sums_of(image, text))
    for atom in (0, 2):
        expected = ttest_rel(image[:, atom] ** 2, text[:, atom] ** 2).pvalue
        assert tests.p_value[atom] == pytest.approx(expected, abs=2e-3)
    assert tests.p_value[2] < 1e-10
    assert np.isnan(tests.p_value[1])
    assert np.isnan(tests.p_value[5])
    assert tests.p_value[6] == 1
    assert (tests.q_value[[0, 2, 3, 4, 6]] >= tests.p_value[[0, 2, 3, 4, 6]]).all()


def test_sharedness_is_the_ratio_of_the_energies_within_its_interval(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    image, text = pairs
    tests = equal_energy_tests(sums_of(image, text))
    energies = (image**2).mean(0), (text**2).mean(0)
    assert tests.sharedness[2] == pytest.approx(
        min(energies[0][2], energies[1][2]) / max(energies[0][2], energies[1][2])
    )
    assert tests.sharedness_low[2] < tests.sharedness[2] < tests.sharedness_high[2] < 0.65
    assert tests.sharedness[0] == pytest.approx(1)
    assert tests.sharedness_high[0] == 1
    assert tests.sharedness[[3, 4]].tolist() == [0, 0]
    assert tests.sharedness_high[3] == pytest.approx(3 / np.count_nonzero(image[:, 3]))
    assert np.isnan(tests.sharedness[5])


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered, draws = 0, 300
    for seed in range(draws):
        random = np.random.default_rng(seed)
        size, fires = random.gamma(2.0, size=(2000, 1)), random.random((2000, 1)) < 0.2
        image = size * fires
        text = random.gamma(2.0, size=(2000, 1)) * (random.random((2000, 1)) < 0.2) * 0.7**0.5
        tests = equal_energy_tests(sums_of(image, text))
        covered += bool(tests.sharedness_low[0] <= 0.7 <= tests.sharedness_high[0])
    assert 0.9 <= covered / draws <= 0.99


def test_no_more_false_discoveries_than_promised() -> None:
    random = np.random.default_rng(1)
    image, text = (random.gamma(2.0, size=(1000, 500)) * (random.random((1000, 500)) < 0.3) for _ in range(2))
    tests = equal_energy_tests(sums_of(image, text))
    assert (tests.p_value < 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert (tests.q_value < 0.05).sum() <= 2


def test_two_halves_merge_into_the_whole(pairs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    image, text = pairs
    whole = sums_of(image, text)
    sums_of(image[:1000], text[:1000]).save(tmp_path / "half.safetensors")
    merged = PairedEnergy.load(tmp_path / "half.safetensors").merge(sums_of(image[1000:], text[1000:]))
    assert merged.pairs == whole.pairs
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(merged, name), value, rtol=1e-12)


def test_no_pairs_say_nothing() -> None:
    tests = equal_energy_tests(PairedEnergy.zeros(3))
    assert np.isnan(tests.p_value).all()
    assert np.isnan(tests.sharedness).all()


def test_of_fewer_pairs_than_twenty_there_are_no_intervals(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    image, text = pairs
    assert np.isfinite(equal_energy_tests(sums_of(image[:20], text[:20])).sharedness_low).any()
    few = equal_energy_tests(sums_of(image[:19], text[:19]))
    assert np.isfinite(few.sharedness).any()
    assert np.isnan([few.sharedness_low, few.sharedness_high]).all()
