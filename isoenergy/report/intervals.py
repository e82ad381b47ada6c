"""Numbers and their intervals as text."""

import math
from collections.abc import Mapping

Interval = Mapping[str, float]
"""`value`, `low` and `high`; the bounds are NaN where there is no interval."""


def number(value: float, form: str) -> str:
    """Return a number in a format, with a minus that is one; what is not finite as – or ∞."""
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, form).replace("-", "−")


def bounds(interval: Interval, form: str = ".3f") -> str:
    """Return `[low, high]`, or that there is no interval."""
    if not is_known(interval):
        return "[no interval]"
    return f"[{number(interval['low'], form)}, {number(interval['high'], form)}]"


def with_bounds(interval: Interval, form: str = ".3f") -> str:
    """Return `value [low, high]`."""
    return f"{number(interval['value'], form)} {bounds(interval, form)}"


def is_known(interval: Interval) -> bool:
    """Return whether there is an interval."""
    return not (math.isnan(interval["low"]) or math.isnan(interval["high"]))
