"""Numbers and their intervals as text, with no more digits than the interval's width has a use for."""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

Interval = Mapping[str, float]
"""`value`, `low` and `high`; the bounds are NaN where there is no interval."""

_MORE_DECIMALS = 4


def number(value: float, form: str) -> str:
    """Return a number in a format, with a minus that is one, and none before 0; what is not finite as – or ∞."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    text = format(value, form)
    return text.replace("-", "−" if re.search("[1-9]", text) else "")


def fitting(interval: Interval, form: str) -> str:
    """Return a format of fixed decimals with one or two digits of the interval's width, four more at most.

    As it is without a width.
    """
    found = re.fullmatch(r"([+,]*)\.(\d+)([f%])", form)
    width = interval["high"] - interval["low"]
    if found is None or not 0 < width < math.inf:
        return form
    one_digit = math.ceil(-math.log10(100 * width if found[3] == "%" else width))
    asked = int(found[2])
    return f"{found[1]}.{max(0, min(max(asked, one_digit), one_digit + 1, asked + _MORE_DECIMALS))}{found[3]}"


def apart(interval: Interval, form: str, asked: float) -> str:
    """Return a format of up to four more decimals, in which no number of an interval reads as `asked` but that one."""
    found = re.fullmatch(r"([+,]*)\.(\d+)([f%])", form)
    if found is None or math.isnan(asked):
        return form
    finer = [f"{found[1]}.{int(found[2]) + more}{found[3]}" for more in range(1 + _MORE_DECIMALS)]
    other = [interval[name] for name in ("value", "low", "high") if interval[name] != asked]
    return next((each for each in finer if number(asked, each) not in {number(n, each) for n in other}), finer[-1])


def bounds(interval: Interval, form: str = ".3f") -> str:
    """Return `[low, high]`; nothing if there is no interval."""
    return _between(interval, fitting(interval, form)) if is_known(interval) else ""


def _between(interval: Interval, form: str) -> str:
    return f"[{number(interval['low'], form)}, {number(interval['high'], form)}]"


def value_of(interval: Interval, form: str = ".3f") -> str:
    """Return the number of an interval alone, with as many digits as `with_bounds` gives it."""
    return number(interval["value"], fitting(interval, form))


def with_bounds(interval: Interval, form: str = ".3f", asked: float = math.nan) -> str:
    """Return `value [low, high]`, or the value alone; asked: what they are to be told from, as `apart` has it."""
    form = apart(interval, fitting(interval, form), asked)
    text = number(interval["value"], form)
    return f"{text} {_between(interval, form)}" if is_known(interval) else text


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Return ` {median; least to most}` of a number of several trainings; nothing of a single one."""
    known = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or not known:
        return ""
    return f" {{{number(median(known), form)}; {number(min(known), form)} to {number(max(known), form)}}}"


def over_trainings(found: Sequence[Interval]) -> Interval:
    """Return the median over trainings, from the least end of their intervals to the largest.

    A training without the number is left out of the median; without one of the intervals there is none of all.
    """
    known = [each for each in found if math.isfinite(each["value"])]
    if not known or len(found) == 1:
        return found[0]
    return {
        "value": median(each["value"] for each in known),
        "low": float(np.min([each["low"] for each in known])),  # NaN if one is
        "high": float(np.max([each["high"] for each in known])),
    }


def ranging(values: Sequence[float], form: str) -> str:
    """Return ` (least to most)` of a number of several trainings that has no interval; nothing if they are one."""
    known = [number(value, form) for value in (min(values), max(values))]
    return f" ({known[0]} to {known[1]})" if len(set(known)) > 1 else ""


def middle(trainings: int) -> str:
    """Return what the median of so many trainings, two or more, is called."""
    return "the middle one" if trainings % 2 else "the mean" if trainings == 2 else "the mean of the middle two"


def told(found: Sequence[Interval], form: str = ".3f", asked: float = math.nan) -> str:
    """Return a number and its interval, as `with_bounds`: of a single training, or of several by `over_trainings`."""
    return with_bounds(over_trainings(found), form, asked)


def is_known(interval: Interval) -> bool:
    """Return whether there is an interval."""
    return not (math.isnan(interval["low"]) or math.isnan(interval["high"]))
