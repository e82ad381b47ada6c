"""One trial: a method of one strength and seed, trained and measured. A step's function."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoenergy.arena.budget import Budget
from isoenergy.arena.method_measures import all_measures, brief_measures, embedding_measures
from isoenergy.arena.pairs import ArenaPairs
from isoenergy.arena.roster import METHODS
from isoenergy.errors import InputError

PAIRS = "pairs"
"""Name of the input with the arena's pairs."""


@dataclass(frozen=True)
class ArenaTrial:
    """What is trained."""

    method: str
    budget: Budget
    strength: float
    seed: int


def run_trial(config: ArenaTrial, inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    """Train, and measure validation briefly and test in full.

    A training that diverges is a result: `failed` says how, and there are no measures. What is not a number is None.
    """
    pairs = ArenaPairs.load(inputs[PAIRS])
    method = METHODS[config.method]
    started = time.perf_counter()
    try:
        fitted = method.fit(pairs.train, config.budget, config.strength, config.seed)
    except InputError as error:
        return {"failed": str(error)}
    seconds = time.perf_counter() - started
    return {
        "failed": "",
        "seconds": seconds,
        "directions": fitted.atoms * (1 if fitted.shared else 2),
        "validation": _json(brief_measures(fitted, pairs.validation)),
        "test": _json(all_measures(fitted, pairs, "test", method.sparse)),
    }


def measure_embeddings(_config: None, inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    """Measure the test pairs' embeddings themselves. A step's function."""
    return _json(embedding_measures(ArenaPairs.load(inputs[PAIRS]), "test"))


def _json(measures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if abs(value) < float("inf") else None for name, value in measures.items()}
