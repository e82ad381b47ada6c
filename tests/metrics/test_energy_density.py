import numpy as np

from isoenergy.metrics.energy_density import BINS_A_DECADE, decades, energy_density


def test_two_planted_energies_make_two_bumps_of_their_shares() -> None:
    energy = np.array([[1e-4], [1e-4], [1e-4], [1e-1], [0.0]])
    middles = decades(energy[:, 0])
    density = energy_density(energy, middles, energy.sum(0))[:, 0]
    weak = density[middles < -2.5].sum() / BINS_A_DECADE
    np.testing.assert_allclose([weak, density.sum() / BINS_A_DECADE], [3e-4 / (3e-4 + 0.1), 1.0], rtol=1e-3)
    assert abs(middles[density.argmax()] + 1) < 1 / BINS_A_DECADE


def test_disjoint_sets_of_atoms_share_the_whole() -> None:
    energy = np.exp(np.random.default_rng(0).normal(size=(50, 4)))
    middles = decades(energy[:, 0])
    first = np.arange(50)[:, None] < 20
    parts = [energy_density(np.where(chosen, energy, 0), middles, energy.sum(0)) for chosen in (first, ~first)]
    np.testing.assert_allclose((parts[0] + parts[1]).sum(0) / BINS_A_DECADE, 1, rtol=1e-2)


def test_no_energy_has_no_density() -> None:
    energy = np.zeros((3, 2))
    assert not energy_density(energy, decades(energy[:, 0]), energy.sum(0)).any()
