"""Removing unimodal atoms against simpler ways to close the gap: who wins, on which measure, by how much."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoenergy.evaluation.ways import CONTROLS, WAYS
from isoenergy.metrics.protocol import PAPER_BATCH
from isoenergy.report.intervals import Interval, bounds, number, with_bounds
from isoenergy.report.saes import Sae, nothing_left, trainings

BIMODAL, CENTRED = "bimodal", "centred"
_FORM = ".3f"

VARIANTS = {name: (way.title, way.definition) for name, way in WAYS.items()}
"""Title and definition of each of `isoenergy.evaluation.embedding_variants`."""


@dataclass(frozen=True)
class RivalMeasure:
    """A column: where its interval lies, and which end is better."""

    name: str
    path: tuple[str, str]
    """`geometry` or `retrieval`, and the name of the interval."""
    highest_wins: bool

    def of(self, part: Mapping[str, Any], variant: str) -> Interval:
        """Return the number of a variant and its interval; part: the results of an SAE, or of the embeddings."""
        found: Interval = part[self.path[0]][variant][self.path[1]]
        return found

    def best(self, values: Iterable[float]) -> float:
        """Return the best of numbers; NaN if none is known."""
        known = filter(math.isfinite, values)
        return (max if self.highest_wins else min)(known, default=math.nan)

    def ranked(self, values: Mapping[Any, Interval]) -> list[Any]:
        """Return the keys, the best first, without those that were not measured."""
        known = [key for key, interval in values.items() if math.isfinite(interval["value"])]
        return sorted(known, key=lambda key: values[key]["value"], reverse=self.highest_wins)


R1 = RivalMeasure("R@1", ("retrieval", "r1"), highest_wins=True)
R10 = RivalMeasure("R@10", ("retrieval", "r10"), highest_wins=True)
IN_BATCHES = RivalMeasure(f"R@1 in batches of {PAPER_BATCH}", ("retrieval", "in_batches_r1"), highest_wins=True)
GAPS = (
    RivalMeasure("DiM", ("geometry", "difference_in_means_interval"), highest_wins=False),
    RivalMeasure("OT", ("geometry", "optimal_transport_interval"), highest_wins=False),
    RivalMeasure("RMG", ("geometry", "relative_modality_gap_interval"), highest_wins=False),
)
RELATIVE_GAP = GAPS[2]
MEASURES = (R1, IN_BATCHES, *GAPS)


@dataclass(frozen=True)
class RivalCell:
    """A number of a variant, its interval, and whether it wins."""

    text: str
    interval: str
    best: bool = False
    """Of its group."""
    winner: bool = False
    """Of all groups."""


@dataclass(frozen=True)
class RivalRow:
    """A variant."""

    title: str
    change: RivalCell
    """Of R@1, paired, against the first of its kind."""
    cells: Sequence[RivalCell]
    """By measure."""
    zeros: str = ""
    """How many rows are zero; empty if none is."""


@dataclass(frozen=True)
class RivalGroup:
    """Variants of one kind of embeddings, or its controls."""

    heading: str
    rows: Sequence[RivalRow]


def rival_table(original: Mapping[str, Any], saes: Sequence[Sae], labels: Mapping[str, str]) -> list[RivalGroup]:
    """Return all variants, first of the embeddings themselves, then those with each SAE, controls apart.

    Controls do not compete, nor in gaps what `nothing_left` tells of. Numbers that are shown alike win together.
    """
    parts = {"The embeddings themselves": original}
    parts |= {f"With {labels[sae['name']]}": sae["results"] for sae in saes}
    best = {
        heading: {m.name: m.best(m.of(part, name)["value"] for name in ranked_of(part, m)) for m in MEASURES}
        for heading, part in parts.items()
    }
    overall = {m.name: m.best(values[m.name] for values in best.values()) for m in MEASURES}
    groups = []
    for heading, part in parts.items():
        controls = [name for name in CONTROLS if name in part["retrieval"]]
        wanted = {name: (value, overall[name]) for name, value in best[heading].items()}
        groups.append(RivalGroup(heading, [_row(part, name, wanted) for name in rivals_of(part)]))
        if controls:
            groups.append(RivalGroup(f"{heading}: controls", [_row(part, name, {}) for name in controls]))
    return groups


def rival_sentences(original: Mapping[str, Any], sae: Sae) -> list[str]:
    """Return, a sentence or two a measure, who wins, by how much, and where removing the unimodal atoms stands.

    Of several trainings only the first is set against rivals: the first sentence says so.
    """
    first, *others = _rival_sentences(original, sae["results"])
    count = len(trainings(sae))
    said = f"All numbers of rivals are of the first of {count} trainings. " * (count > 1)
    return [f"{said}{first}", *others]


def _rival_sentences(original: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    values = {
        measure.name: {
            **{f"original/{name}": measure.of(original, name) for name in ranked_of(original, measure)},
            **{name: measure.of(results, name) for name in ranked_of(results, measure)},
        }
        for measure in MEASURES
    }
    sentences = [
        _of_recall("R@1 in the full gallery", results["rivals"]["r1"], values[R1.name]),
        _of_recall(IN_BATCHES.name, results["rivals"]["in_batches_r1"], values[IN_BATCHES.name]),
        *(
            _of_gap(title, measure, measure.of(results, BIMODAL), values[measure.name], nothing_left(results, BIMODAL))
            for title, measure in zip(("Difference in means", "Optimal transport", "Relative gap"), GAPS, strict=True)
        ),
    ]
    gap, recall = values[RELATIVE_GAP.name], values[R1.name]
    if BIMODAL not in gap:
        return sentences
    better = [
        name
        for name in gap
        if gap[name]["value"] < gap[BIMODAL]["value"] and recall[name]["value"] > recall[BIMODAL]["value"]
    ]
    listed = [
        f"{kind} {', '.join(VARIANTS[name.rpartition('/')[2]][0] for name in names)}"
        for kind, names in (
            ("of the embeddings", [name for name in better if "/" in name]),
            ("with the SAE", [name for name in better if "/" not in name]),
        )
        if names
    ]
    return [
        *sentences,
        f"Both a smaller relative gap and a higher R@1 than removing the unimodal atoms: {len(better)} of "
        f"{len(gap) - 1} rivals{': ' * bool(listed)}{'; '.join(listed)}.",
    ]


def _of_recall(title: str, found: Mapping[str, Any], values: Mapping[str, Interval]) -> str:
    if not math.isfinite(values[BIMODAL]["value"]):
        return f"{title}: not measured on so few pairs."
    ahead, place = found["ahead_of_bimodal"], found["place_of_bimodal"]
    ranked = list(ahead)
    ranked.insert(place - 1, BIMODAL)
    winner, second = ranked[:2]
    close = not found["lead"]["low"] > 0  # nor if there is no interval
    text = (
        f"{title}: {_called(winner)} {'comes first' if close else 'wins'} with {with_bounds(values[winner])}, "
        f"{with_bounds(found['lead'])} ahead of {_called(second)}{': too close to call a winner' * close}."
    )
    if winner == BIMODAL:
        return text
    text += (
        f" Removing the unimodal atoms is number {place} of {found['rivals']} ways, "
        f"{with_bounds(ahead[winner])} behind {'the first' if close else 'the winner'}; "
    )
    same = next(name for name in ahead if "/" not in name)
    best = VARIANTS[same][0]
    if ahead[same]["value"] > 0:
        return f"{text}of the ways with the same SAE {best} is best, {with_bounds(ahead[same])} ahead of it."
    behind = {"value": -ahead[same]["value"], "low": -ahead[same]["high"], "high": -ahead[same]["low"]}
    return f"{text}of the ways with the same SAE it is best, {with_bounds(behind)} ahead of {best}."


def _of_gap(title: str, measure: RivalMeasure, own: Interval, values: Mapping[str, Interval], nothing: str) -> str:
    if not math.isfinite(own["value"]):
        return f"{title}: not measured on so few pairs."
    if nothing:
        return f"{title}: removing the unimodal atoms has no place in it: {nothing}."
    winner, second, *_ = ranked = measure.ranked(values)
    apart = values[winner]["high"] < values[second]["low"]
    return (
        f"{title}: smallest for {_called(winner)}, {with_bounds(values[winner])}; next {_called(second)}, "
        f"{with_bounds(values[second])}: {'apart' if apart else 'too close to call'}. Removing the unimodal atoms: "
        f"{with_bounds(values[BIMODAL])}, number {ranked.index(BIMODAL) + 1} of {len(ranked)}."
    )


def _called(name: str) -> str:
    kind, _, variant = name.rpartition("/")
    if WAYS[variant].takes_from_embeddings:
        return VARIANTS[variant][0]
    return f"{VARIANTS[variant][0]} ({'embeddings' if kind else 'rebuilt'})"


def rivals_of(part: Mapping[str, Any]) -> list[str]:
    """Return the variants of the embeddings, or of an SAE, that compete."""
    measured = part["retrieval"]
    return [name for name in VARIANTS if name in measured and name not in CONTROLS]


def ranked_of(part: Mapping[str, Any], measure: RivalMeasure) -> list[str]:
    """Return the variants that compete on a measure: in a gap, none that leaves most rows with nothing."""
    competing = rivals_of(part)
    return competing if measure.highest_wins else [name for name in competing if not nothing_left(part, name)]


def emptied_of(part: Mapping[str, Any]) -> list[str]:
    """Return the variants that leave most rows with nothing: a gap between such rows is no point in a figure."""
    return [name for name in VARIANTS if name in part["retrieval"] and nothing_left(part, name)]


def _row(part: Mapping[str, Any], name: str, best: Mapping[str, tuple[float, float]]) -> RivalRow:
    """best: of its group and of all, by measure; none for a control."""
    cells = []
    for measure in MEASURES:
        interval = measure.of(part, name)
        text = number(interval["value"], _FORM)
        wanted = best.get(measure.name, (math.nan,) * 2) if name in ranked_of(part, measure) else (math.nan,) * 2
        of_group, of_all = (number(value, _FORM) == text != "–" for value in wanted)
        cells.append(RivalCell(text, bounds(interval) if text != "–" else "", of_group, of_all))
    change = part["retrieval"][name]["change_r1"]
    nothing = change["low"] == change["high"] == 0
    changed = RivalCell("", "") if nothing else RivalCell(number(change["value"], "+.3f"), bounds(change, "+.3f"))
    zero_rows = part["retrieval"][name].get("zero_rows", {})
    zeros = ", ".join(f"{count:,} {modality}s" for modality, count in zero_rows.items() if count)
    return RivalRow(VARIANTS[name][0], changed, cells, zeros)
