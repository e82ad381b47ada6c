"""Numbers and their intervals as text."""

import math
from collections.abc import Mapping, Sequence
from statistics import median

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


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Return ` {median; least to most}` of a number of several trainings; nothing of a single one."""
    known = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or not known:
        return ""
    return f" {{{number(median(known), form)}; {number(min(known), form)} to {number(max(known), form)}}}"


def told(found: Sequence[Interval], form: str = ".3f") -> str:
    """Return a number of the first training with its interval, and how it is spread over all of them."""
    return with_bounds(found[0], form) + spread([interval["value"] for interval in found], form)


def is_known(interval: Interval) -> bool:
    """Return whether there is an interval."""
    return not (math.isnan(interval["low"]) or math.isnan(interval["high"]))
