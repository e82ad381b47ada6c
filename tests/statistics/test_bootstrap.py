import numpy as np
import pytest

from isoenergy.statistics.bootstrap import Interval, image_weights, no_intervals, poisson_weights, sample_weights


def test_weights_are_those_of_one_draw_a_replicate() -> None:
    weights = poisson_weights(20_000, 9, 3)
    assert (weights[:, 0] == 1).all()
    drawn = weights[:, 1:]
    assert drawn.mean() == pytest.approx(1, abs=0.01)
    assert drawn.var() == pytest.approx(1, abs=0.02)
    for count, chance in enumerate(np.exp(-1) / np.array([1, 1, 2, 6, 24])):
        assert (drawn == count).mean() == pytest.approx(chance, abs=0.005)
    others = poisson_weights(20_000, 9, 4)[:, 1:], np.roll(drawn, 1, axis=0)
    together = np.concatenate([drawn, *others], axis=1)
    assert np.abs(np.corrcoef(together.T) - np.eye(27)).max() < 0.04
    assert np.array_equal(poisson_weights(50, 4, 3, 7), weights[7:57, :5])


def test_pairs_of_one_image_are_drawn_together_whatever_else_is() -> None:
    images = np.array([7, 2**63, 7, 9, 2**63, 2**64 - 1], np.uint64)
    weights = image_weights(images, 50, 3)
    assert (weights[[2, 4]] == weights[[0, 1]]).all()
    assert len(np.unique(weights, axis=0)) == 4
    assert np.array_equal(image_weights(images[3:], 20, 3), weights[3:, :21])


def test_of_fewer_images_than_twenty_there_is_no_interval() -> None:
    captions = np.repeat(np.arange(20, dtype=np.uint64), 5)
    assert np.array_equal(sample_weights(captions, 9, 3), image_weights(captions, 9, 3))
    few = sample_weights(captions[5:], 9, 3)
    assert (few[:, 0] == 1).all()
    assert np.isnan(few[:, 1:]).all()
    assert no_intervals(3) == "an interval wants 20 images; there are 3"
    assert no_intervals(20) == ""
    for make in (Interval.of_weighted, Interval.of_share, Interval.of_norm, Interval.of_spread):
        interval = make(np.array([0.5, np.nan, np.nan]))
        assert interval.value == 0.5
        assert np.isnan([interval.low, interval.high]).all()


def test_infinite_replicates_count_and_those_that_are_unknown_do_not() -> None:
    interval = Interval.of(np.inf, np.array([1.0, 2.0, np.inf, np.inf, np.nan]))
    assert (interval.low, interval.high) == (1, np.inf)
    interval = Interval.of(np.inf, np.full(200, np.inf))
    assert (interval.low, interval.high) == (np.inf, np.inf)


def test_an_interval_around_a_number_holds_it_and_ends_where_the_measure_does() -> None:
    rare = np.zeros(200)
    rare[:2] = 0.5  # two draws of 200 in which an atom changes its class
    assert Interval.around(0.0, rare, least=0.0, most=1.0) == Interval(0.0, 0.0, 0.0)
    assert Interval.around(1.0, 1 - rare, least=0.0, most=1.0) == Interval(1.0, 1.0, 1.0)
    spread = np.linspace(0.5, 1, 200)
    interval = Interval.around(0.9, spread, least=0.0, most=1.0)
    assert 0.6 < interval.low < 0.9
    assert interval.high == 1


def test_an_interval_of_nothing_is_unknown() -> None:
    interval = Interval.of(1.0, np.array([np.nan]))
    assert interval.value == 1
    assert np.isnan([interval.low, interval.high]).all()


def test_the_interval_of_a_norm_is_without_the_noise_that_lengthens_it() -> None:
    """A mean of norm 1 in 400 dimensions of noise, of which a tenth of its square is."""
    generator = np.random.default_rng(0)
    truth, noise = np.zeros(400), np.sqrt(0.1 / 400)
    truth[0] = 1.0
    held = []
    for _ in range(100):
        mean = truth + noise * generator.normal(size=400)
        draws = mean[:, None] + noise * generator.normal(size=(400, 200))
        interval = Interval.of_norm(np.linalg.norm(np.column_stack([mean, draws]), axis=0))
        assert interval.low <= interval.value <= interval.high
        held.append(interval.low <= 1 <= interval.high)
    assert np.mean(held) > 0.88


def test_a_spread_alone_is_told_around_the_value_and_within_what_a_share_can_be() -> None:
    replicates = np.random.default_rng(0).normal(0.5, 0.1, 200)
    found = Interval.of_spread(np.array([0.7, *replicates, np.nan]))
    half = 1.96 * replicates.std(ddof=1) / (0.7 * 0.3)
    odds = [0.7 / 0.3 * np.exp(side * half) for side in (-1, 1)]
    assert [found.low, found.high] == pytest.approx([each / (1 + each) for each in odds], abs=1e-4)
    assert found.value - found.low > found.high - found.value
    for value in (0.95, 0.02, 1.0, 0.0):
        found = Interval.of_spread(np.array([value, *replicates]))
        assert 0 <= found.low <= value <= found.high <= 1
    assert Interval.of_spread(np.ones(9)) == Interval(1, 1, 1)
    assert np.isnan(Interval.of_spread(np.array([0.7, np.nan, np.nan])).high)
