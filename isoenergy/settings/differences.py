"""Naming what differs between two settings."""

import json
from collections.abc import Mapping
from typing import Any


def differing_fields(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return "name is A there and B here; …" for every field in which two settings, as JSON, differ; "" if in none."""
    there, here = json.loads(json.dumps(there)), json.loads(json.dumps(here))
    return "; ".join(
        f"{name} is {_short(there.get(name))} there and {_short(here.get(name))} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name) != here.get(name)
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}…{text[-1]}"
