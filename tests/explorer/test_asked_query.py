"""The largest of many values, against a sort of all."""

import numpy as np
import pytest

from isoenergy.explorer.asked_query import largest


@pytest.mark.parametrize("size", [1, 7, 50, 3_201, 100_000])
@pytest.mark.parametrize("different", [3, 10**6])
def test_the_largest_come_first_and_of_equal_ones_the_first(size: int, different: int) -> None:
    generator = np.random.default_rng(size)
    values = generator.integers(0, different, size).astype(np.float32)
    values[generator.random(size) < 0.1] = -np.inf
    assert largest(values, 50).tolist() == np.argsort(-values, kind="stable")[:50].tolist()
