"""Trials with numbers of one's choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from isoenergy.report.arena.standings import MethodTrials


def trial(r2: float, recall: float, l0: float = 8.0, failed: str = "", **test: float | None) -> dict[str, Any]:
    if failed:
        return {"failed": failed}
    return {
        "failed": "",
        "seconds": 1.0,
        "directions": 32,
        "validation": {"r2_centred": r2, "codes_r@10": recall, "l0": l0},
        "test": {"r2": r2, "l0": l0, "codes_r@10": recall, **test},
    }


def method(name: str, by_strength: Mapping[float, Sequence[Mapping[str, Any]]], sparse: bool = True) -> MethodTrials:
    return MethodTrials(name, f"the {name}", sparse, by_strength)
