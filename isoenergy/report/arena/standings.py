"""From trials to standings: a strength for each method by one rule, intervals over trainings, winners and noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from isoenergy.report.arena.arena_measures import MEASURES, ArenaMeasure
from isoenergy.report.synthetic.over_seeds import mean_of_few

R2_TOLERANCE = 0.02
"""Centred R² on validation pairs that a strength may cost against the method's own best."""
L0_TOLERANCE = 0.25
"""How far from k, relatively, a method's atoms a row may be for it to win."""
RULE = (
    f"Each method's strength is chosen on validation pairs, by trainings of the first seed: of those with about k "
    f"atoms a row (to {L0_TOLERANCE:.0%}; all, if none has), those whose centred R² is at most {R2_TOLERANCE} below "
    f"the best of them, and of these the one with the highest R@10 by codes. The other seeds train with it alone."
)
FEWEST_TRAININGS = 3
"""Of a method; of fewer there is no interval, and so it neither wins nor is within noise."""
_LEVEL = 0.95


@dataclass(frozen=True)
class MethodTrials:
    """A method's trials: what each step returned, by strength, a seed each; of the chosen strength all seeds."""

    name: str
    label: str
    sparse: bool
    by_strength: Mapping[float, Sequence[Mapping[str, Any]]]


def chosen_strength(trials: MethodTrials, k: int) -> float | None:
    """Return the strength that `RULE` chooses; None if every training of the first seed failed."""
    known: dict[float, dict[str, float]] = {}
    for strength, (first, *_) in trials.by_strength.items():
        if not first["failed"]:
            validation: Mapping[str, float | None] = first["validation"]
            known[strength] = {name: -np.inf if value is None else value for name, value in validation.items()}
    if not known:
        return None
    near = {each for each, found in known.items() if _is_near(found["l0"], k)} or set(known)
    best = max(known[each]["r2_centred"] for each in near)
    allowed = [each for each in known if each in near and known[each]["r2_centred"] >= best - R2_TOLERANCE]
    return max(allowed, key=lambda each: known[each]["codes_r@10"])


def _is_near(l0: float, k: int) -> bool:
    return abs(l0 / k - 1) <= L0_TOLERANCE


def standings(methods: Sequence[MethodTrials], k: int) -> dict[str, Any]:
    """Return what `arena.json` holds of methods and measures.

    A method contends if it is sparse, has about k atoms a row, and did not fail. The winner of a measure has the best
    mean over trainings, of which there must be three: of fewer there is no interval. Another is within noise if Welch's
    test does not tell it from the winner at 95 %, which takes three of it too. The test pairs are the same for all: of
    other pairs this says nothing. `mms_rank_correlation`: of the contending methods' MMS by the judge with that by the
    embeddings themselves; None without a judge.
    """
    rows = [_method(trials, k) for trials in methods]
    return {
        "rule": RULE,
        "methods": rows,
        "measures": [_measure(measure, rows) for measure in MEASURES if _is_measured(measure, rows)],
        "mms_rank_correlation": _rank_correlation(rows, "mms", "mms_coded"),
    }


def _rank_correlation(rows: Sequence[Mapping[str, Any]], *measures: str) -> float | None:
    """Return Spearman's over the contending methods that have both measures; None of fewer than three, or of ties."""
    both = [
        [row["measures"][name]["mean"] for name in measures]
        for row in rows
        if row["contends"] and all(name in row["measures"] for name in measures)
    ]
    if len(both) < 3 or 0 in np.ptp(both, axis=0):
        return None
    return float(stats.spearmanr(both).statistic)


def _method(trials: MethodTrials, k: int) -> dict[str, Any]:
    strength = chosen_strength(trials, k)
    results = [] if strength is None else [r for r in trials.by_strength[strength] if not r["failed"]]
    measures: dict[str, dict[str, Any]] = {}
    for measure in MEASURES:
        values = [result["test"].get(measure.name) for result in results]
        if values and all(value is not None for value in values):
            measures[measure.name] = {**mean_of_few(values), "values": values}
    l0: float | None = measures.get("l0", {}).get("mean")
    return {
        "name": trials.name,
        "label": trials.label,
        "sparse": trials.sparse,
        "contends": trials.sparse and l0 is not None and _is_near(l0, k),
        "strength": strength,
        "strengths": [
            {
                "strength": each,
                "failed": next((result["failed"] for result in own if result["failed"]), ""),
                "validation": _means([result["validation"] for result in own if not result["failed"]]),
            }
            for each, own in trials.by_strength.items()
        ],
        "trainings": len(results),
        "directions": results[0]["directions"] if results else None,
        "seconds": float(np.mean([result["seconds"] for result in results])) if results else None,
        "measures": measures,
    }


def _means(found: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    names = list(found[0]) if found else []
    values = {name: [float("nan") if x[name] is None else float(x[name] or 0) for x in found] for name in names}
    return {name: mean_of_few(own)["mean"] for name, own in values.items()}


def _is_measured(measure: ArenaMeasure, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(measure.name in row["measures"] for row in rows)


def _measure(measure: ArenaMeasure, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    about = {"name": measure.name, "label": measure.label, "about": measure.about, "better": measure.better}
    scores = {
        row["name"]: [measure.score(value) for value in row["measures"][measure.name]["values"]]
        for row in rows
        if row["contends"] and measure.name in row["measures"]
    }
    if measure.better == "none" or not scores:
        return {**about, "winner": None, "within_noise": []}
    winner = max(scores, key=lambda name: float(np.mean(scores[name])))
    if len(scores[winner]) < FEWEST_TRAININGS:
        return {**about, "winner": None, "within_noise": []}
    near = [name for name, values in scores.items() if name != winner and _not_told_apart(scores[winner], values)]
    return {**about, "winner": winner, "within_noise": near}


def _not_told_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    if min(len(one), len(other)) < FEWEST_TRAININGS:
        return False
    if np.ptp(one) == np.ptp(other) == 0:
        return bool(one[0] == other[0])
    return bool(stats.ttest_ind(one, other, equal_var=False).pvalue > 1 - _LEVEL)
