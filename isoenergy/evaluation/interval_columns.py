"""Curves with intervals as columns of a table."""

import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isoenergy.statistics.bootstrap import Interval


def interval_columns(found: npt.NDArray[np.float64], most: float = math.inf) -> dict[str, pa.Array]:
    """Return `value`, `low` and `high`, a row a point; null where there is none.

    found: `(points, 1 + replicates)`, none below 0. most: none can be above.
    """
    rows = [Interval.around(point[0], point[1:], least=0.0, most=most) for point in found]
    columns = {name: [getattr(row, name) for row in rows] for name in ("value", "low", "high")}
    return {name: pa.array(values, pa.float64(), from_pandas=True) for name, values in columns.items()}
