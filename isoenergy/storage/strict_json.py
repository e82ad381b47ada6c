"""JSON that every reader takes: numbers that are not finite, which JSON does not have, stand as text."""

import json
import math
from typing import Any

_AS_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def dumps(value: Any) -> str:
    """Return indented JSON; NaN and infinities become "NaN", "Infinity" and "-Infinity"."""
    return json.dumps(_told(value), indent=2, allow_nan=False) + "\n"


def loads(text: str) -> Any:
    """Return what `dumps` was given; raises ValueError for text that is not JSON."""
    return _read(json.loads(text))


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    return [_told(item) for item in value] if isinstance(value, list | tuple) else value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    return _AS_NUMBERS.get(value, value) if isinstance(value, str) else value
