import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from isoenergy.metrics.transport import TransportPlans, strongest_atoms, transport_gap, transport_plan
from tests.metrics.cases import plan_by_linear_program, random_dictionary, unit


@pytest.mark.parametrize("seed", range(3))
def test_plan_and_cost_are_those_of_the_linear_program(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = 3 * random_dictionary(seed, 12, 4), random_dictionary(seed + 10, 9, 4)
    mass_a, mass_b = generator.gamma(0.5, size=12), 100 * generator.gamma(0.5, size=9)
    mass_a[[0, 5]] = mass_b[3] = 0
    plan, cost = transport_plan(a, b, mass_a, mass_b)
    expected_plan, expected_cost = plan_by_linear_program(a, b, mass_a, mass_b)
    np.testing.assert_allclose(plan.toarray(), expected_plan, atol=1e-9)
    assert cost == pytest.approx(expected_cost, abs=1e-9)


def test_energies_over_many_orders_of_magnitude_move_exactly() -> None:
    a, b = random_dictionary(0, 200, 8), random_dictionary(1, 150, 8)
    mass_a, mass_b = (10 ** np.random.default_rng(seed).uniform(-12, 0, size) for seed, size in ((2, 200), (3, 150)))
    plan, _ = transport_plan(a, b, mass_a, mass_b)
    np.testing.assert_allclose(plan.sum(axis=1), mass_a / mass_a.sum(), atol=1e-15)
    np.testing.assert_allclose(plan.sum(axis=0), mass_b / mass_b.sum(), atol=1e-15)


def test_the_same_masses_stay_where_they_are() -> None:
    dictionary, mass = random_dictionary(0, 10, 3), np.arange(10.0)
    plan, cost = transport_plan(dictionary, dictionary, mass, mass)
    np.testing.assert_allclose(plan.toarray(), np.diag(mass / 45), atol=1e-15)
    assert cost == pytest.approx(0, abs=1e-15)


def test_plans_that_begin_where_others_ended_are_the_cheapest_too() -> None:
    generator, places = np.random.default_rng(0), random_dictionary(0, 60, 6)
    plans = TransportPlans(places, places)
    for _ in range(6):
        masses = generator.gamma(0.5, size=(2, 60)) * (generator.uniform(size=(2, 60)) < 0.8)
        plan, cost = plans.cheapest(*masses)
        expected_plan, expected_cost = transport_plan(places, places, *masses)
        np.testing.assert_allclose(plan.toarray(), expected_plan.toarray(), atol=1e-12)
        assert cost == pytest.approx(expected_cost, abs=1e-12)


def test_of_too_many_atoms_those_with_the_most_energy_are_moved() -> None:
    energy = np.array([0, 3, 1, 0, 2, 1.0])
    assert np.flatnonzero(strongest_atoms(energy)).tolist() == [1, 2, 4, 5]
    assert np.flatnonzero(strongest_atoms(energy, 3)).tolist() == [1, 2, 4]


def test_one_atom_and_no_mass() -> None:
    assert transport_plan(np.ones((1, 2)), -np.ones((1, 2)), np.ones(1), np.ones(1))[1] == pytest.approx(2)
    plan, cost = transport_plan(np.eye(2), np.eye(2), np.zeros(2), np.ones(2))
    assert plan.shape == (2, 2)
    assert plan.nnz == 0
    assert np.isnan(cost)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_masses_must_be_finite_and_not_negative(bad: float) -> None:
    with pytest.raises(ValueError, match="masses"):
        transport_plan(np.eye(2), np.eye(2), np.array([1, bad]), np.ones(2))


def test_the_masses_given_stay_as_they_were() -> None:
    # the paper's code divides the stored energies in place (paper 5.3, 15)
    image, text = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    transport_plan(np.eye(2), np.eye(2), image, text)
    assert image.tolist() == [1, 3]
    assert text.tolist() == [2, 2]


def some_pairs(generator: np.random.Generator, pairs: int, dim: int, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Images and texts with a gap between them, correlated by `shared`, the dimensions of unequal spread."""
    both, image, text = generator.normal(size=(3, pairs, dim)) * np.linspace(0.5, 2, dim)
    gap = np.eye(dim)[0]
    own = np.sqrt(1 - shared)
    return np.sqrt(shared) * both + own * image + gap, np.sqrt(shared) * both + own * text - gap


def test_the_gap_of_two_clouds_is_the_best_assignment() -> None:
    images, texts = some_pairs(np.random.default_rng(0), 40, 5, 0.5)
    cost = 1 - unit(images) @ unit(texts).T
    best = cost[linear_sum_assignment(cost)].mean()
    assert transport_gap(3 * images, texts.astype(np.float32)).value == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(("dim", "shared"), [(3, 0.0), (3, 0.95), (16, 0.9)])
def test_the_standard_error_is_the_spread_of_the_gap_over_samples(dim: int, shared: float) -> None:
    generator = np.random.default_rng(1)
    gaps = [transport_gap(*some_pairs(generator, 120, dim, shared)) for _ in range(150)]
    spread = np.std([gap.value for gap in gaps])
    assert np.mean([gap.standard_error for gap in gaps]) == pytest.approx(spread, rel=0.25)


def test_what_a_pair_shares_does_not_count_twice() -> None:
    # an image that says where its text lies: the gap is the same for every pair, and certain
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    paired = transport_gap(np.c_[circle, np.ones(300)], np.c_[circle, -np.ones(300)])
    assert paired.value == pytest.approx(1, abs=1e-9)
    assert paired.standard_error == pytest.approx(0, abs=1e-9)


def test_the_gap_of_one_pair_has_no_error_and_of_none_no_value() -> None:
    one = transport_gap(np.ones((1, 2)), -np.ones((1, 2)))
    assert one.value == pytest.approx(2)
    assert np.isnan(one.standard_error)
    assert np.isnan(transport_gap(np.ones((0, 2)), np.ones((0, 2)))).all()


def test_rows_that_are_not_pairs_or_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="got 2 and 3"):
        transport_gap(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        transport_gap(np.full((2, 2), np.nan), np.ones((2, 2)))
