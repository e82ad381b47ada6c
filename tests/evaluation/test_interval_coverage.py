"""How often the intervals of samples hold what is true of the population that they are drawn from."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.evaluation.sampled_population import Population, agreeing, measured, population, retrieved

pytestmark = pytest.mark.slow

PAIRS, FITTED, SAMPLES = 40_000, 8_000, 300
CAPTIONS, SAMPLES_ALONE = 5, 60
LEAST, MOST = 0.92, 0.97
CONSERVATIVE = ("difference_in_means.centred", "gap_closed.centred", "gap_closed.bimodal")
"""A gap that is all but closed looks wider than it is, and the interval is widened to hold what it looks like; that of
the share which removal closes is somewhat wide for few pairs (0.977 at 600)."""
NOT_HELD = {"score_spread": 0.9, "agreeing_share": 0.9}
"""Those that fall short of `LEAST`, or all but, and above what they are. Of atoms that fire once or twice in a sample μ
is 0 or 1, whatever is drawn of them again (0.913 at 600 pairs). Which atoms agree varies somewhat less in replicates
than in samples of 600 (0.917)."""


@cache
def drawn_from() -> Population:
    return population(PAIRS, FITTED)


@cache
def coverage(pairs: int) -> dict[str, float]:
    """The share of samples of so many pairs whose interval holds the truth, by number.

    What is true of R@10 is that of a gallery of so many pairs, and of agreement what its test finds in so many: their
    means over the samples.
    """
    whole = drawn_from()
    found = []
    for number in range(SAMPLES):
        places = np.random.default_rng((5, pairs, number)).choice(PAIRS, pairs, replace=False)
        sample = whole.whole.take(places)
        of_size = retrieved(whole, sample, number) | agreeing(whole, sample, number)
        found.append(measured(whole, sample, number) | of_size)
    truth = {name: float(np.mean([each[name].value for each in found])) for name in found[0]}
    truth |= {name: each.value for name, each in measured(whole, whole.whole, 0, replicates=1, probed=PAIRS).items()}
    return {
        name: float(np.mean([each[name].low <= value <= each[name].high for each in found]))
        for name, value in truth.items()
    }


@pytest.mark.parametrize("pairs", [600, 3000])
def test_intervals_hold_the_truth_as_often_as_they_say(pairs: int) -> None:
    found = coverage(pairs)
    print(pairs, {name: round(share, 3) for name, share in found.items()})
    judged = {name: share for name, share in found.items() if name not in (*CONSERVATIVE, *NOT_HELD)}
    assert {name: share for name, share in judged.items() if not LEAST <= round(share, 2) <= MOST} == {}
    assert all(found[name] >= LEAST for name in CONSERVATIVE)
    assert all(found[name] >= least for name, least in NOT_HELD.items())


def test_intervals_of_images_with_five_captions_hold_the_truth_too() -> None:
    """600 images of 8,000, all captions of each; with pairs drawn one by one, intervals are half as wide."""
    whole = population(PAIRS, FITTED, captions=CAPTIONS)
    together, alone = [], []
    for number in range(SAMPLES):
        images = np.random.default_rng((6, number)).choice(PAIRS // CAPTIONS, 600, replace=False)
        sample = whole.whole.take((CAPTIONS * images[:, None] + np.arange(CAPTIONS)).ravel())
        together.append(measured(whole, sample, number) | agreeing(whole, sample, number))
        if number < SAMPLES_ALONE:
            unlike = replace(sample, images=np.arange(len(sample), dtype=np.uint64))
            alone.append(measured(whole, unlike, number))
    truth = {"agreeing_share": float(np.mean([each["agreeing_share"].value for each in together]))}
    truth |= {name: each.value for name, each in measured(whole, whole.whole, 0, replicates=1, probed=PAIRS).items()}
    held, held_alone = (
        {
            name: float(np.mean([each[name].low <= value <= each[name].high for each in found]))
            for name, value in truth.items()
            if name in found[0]
        }
        for found in (together, alone)
    )
    for what, found in (("together", held), ("alone", held_alone)):
        print("captions drawn", what, {name: round(share, 3) for name, share in found.items()})
    judged = {name: share for name, share in held.items() if name not in (*CONSERVATIVE, *NOT_HELD)}
    assert {name: share for name, share in judged.items() if not LEAST <= round(share, 2) <= MOST} == {}
    assert max(held_alone.values()) < 0.85
