"""Which cases of a test are of which tier."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest


def each_with_one(rows: Sequence[Any], columns: Sequence[Any]) -> list[Any]:
    """Return all pairs of both as cases: so many that each stands in one are of the first tier, the rest are slow."""
    first = {(place % len(rows), place % len(columns)) for place in range(max(len(rows), len(columns)))}
    return [
        pytest.param(row, column, marks=[] if (i, j) in first else pytest.mark.slow, id=f"{column}-{row}")
        for (i, row), (j, column) in product(enumerate(rows), enumerate(columns))
    ]
