"""Numbers as settings hold them: Python's own, which go into JSON and compare alike, whatever type was given."""

import math
from numbers import Integral, Real
from typing import Any

from isoenergy.errors import InputError


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """Return a whole number of any integer type as Python's; raises InputError, naming it, for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or (least is not None and value < least):
        bound = "" if least is None else f" of at least {least}"
        raise InputError(f"{name} must be a whole number{bound}, got {value!r}")
    return int(value)


def finite_number(name: str, value: Any) -> float:
    """Return a number of any real type as Python's, at least 0; raises InputError, naming it, for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise InputError(f"{name} must be 0 or more, and finite, got {value!r}")
    return float(value)
