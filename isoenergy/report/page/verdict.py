"""The evaluation in sentences, good news or bad."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from isoenergy.report.intervals import Interval, is_known, number, over_trainings, ranging, told, with_bounds
from isoenergy.report.saes import Sae, nothing_left, nulls_of, trainings
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY

KEPT_RETRIEVAL = 0.9
UNIMODAL_RETRIEVAL = 0.1
MOST_OF_THE_GAP = 0.9
AGREEING_ENERGY = 0.9
SHUFFLED_AGREEING = 0.1
"""From here on the test of agreement finds too much where there is nothing for what it finds in pairs to decide."""
ALWAYS_ON_SHARE = 0.05
NULL_COMMAND = "isoenergy train … --null"

_NOT_AT_EQUAL_R2 = "; at equal R², which several β of both would show, it may be another"

State = Literal["holds", "fails", "undecided", "differs"]
Results = Mapping[str, Any]
MARKS: dict[State, str] = {"holds": "✓", "fails": "✗", "undecided": "?", "differs": "≠"}


@dataclass(frozen=True)
class Finding:
    """One thing that the hypothesis predicts, and what was found."""

    state: State
    """undecided: the interval has both sides of what is asked for, or there is nothing to tell it from. differs: not
    all trainings say the same."""
    text: str
    claim: str
    """The same on one line: what was found, and what is asked."""

    @property
    def mark(self) -> str:
        """✓, ✗, ? or ≠."""
        return MARKS[self.state]


def verdict(sae: Sae, saes: Sequence[Sae], chance_r10: float, original_r10: float) -> list[Finding]:
    """Return what the hypothesis predicts of an SAE, and whether the intervals of all its trainings bear it out.

    saes: all of the evaluation; its null models are among them. chance_r10: R@10 of a gallery in random order;
    original_r10: that of the embeddings as they are.
    """
    runs = trainings(sae)
    found = [_gap(runs), *_retrieval(runs, chance_r10, original_r10), _always_on(runs), _against_centring(runs)]
    if all("agreement" in results for results in runs):  # evaluations of before have none
        found.append(_agreement(runs))
    return found + ([_null(sae, nulls_of(sae, saes))] if sae["config"]["beta"] else [])


def above(interval: Interval, least: float) -> State:
    """Return whether a number is above `least`: undecided if its interval has both sides of it, or is NaN."""
    if interval["low"] > least:
        return "holds"
    return "fails" if interval["high"] < least else "undecided"


def below(interval: Interval, most: float) -> State:
    """Return whether a number is below `most`, as `above` does."""
    return above({name: -interval[other] for name, other in (("low", "high"), ("high", "low"))}, -most)


def agreed(states: Iterable[State]) -> State:
    """Return what all trainings say, or that they differ."""
    first, *others = states
    return first if all(other == first for other in others) else "differs"


def gap_left(runs: Sequence[Results], variant: str) -> Interval:
    """Return the difference in means of a variant, over trainings."""
    return over_trainings([results["geometry"][variant]["difference_in_means_interval"] for results in runs])


def gap_closed(results: Results, variant: str) -> Interval:
    """Return which share of the difference in means of what it begins with a variant closes; below 0 if it widens it.

    `isoenergy.evaluation.ways.beginning` says what that is: in all sentences, the reconstruction.
    The ratio is that of each draw of pairs; NaN without a gap.
    """
    found: Interval = results["geometry"][variant]["gap_closed_interval"]
    return found


def recall_kept(results: Results, variant: str) -> Interval:
    """Return which share of R@10 a variant keeps, of that of what it begins with, as `gap_closed`; NaN of none.

    The ratio is that of each draw of queries.
    """
    found: Interval = results["retrieval"][variant]["kept_r10"]
    return found


def agreeing(results: Results) -> Interval:
    """Return the share of the bimodal energy in atoms that agree in the measured pairs.

    In the fitted ones, of an evaluation of before.
    """
    found: Interval = results["agreement"].get("measured_pairs") or _agreeing_in_fitted(results)
    return found


def _agreeing_in_fitted(results: Results) -> Interval:
    found: Interval = results["agreement"]["bimodal_energy_share"]
    return found


def original_recall(summary: Mapping[str, Any]) -> float:
    """Return R@10 of the embeddings of an evaluation as they are."""
    return float(summary["original"]["retrieval"]["original"]["r10"]["value"])


def recall_of_original(runs: Sequence[Results], variant: str, original_r10: float) -> str:
    """Return which share of the original embeddings' R@10 a variant has."""
    r10 = over_trainings([results["retrieval"][variant]["r10"] for results in runs])["value"]
    return f"{number(r10 / original_r10 if original_r10 > 0 else math.nan, '.0%')} of the original embeddings'"


def at_chance(results: Results, chance_r10: float) -> str:
    """Return how the reconstruction retrieves no better than chance does; nothing to say if it does."""
    r10 = results["retrieval"]["reconstructed"]["r10"]
    if r10["low"] > chance_r10 or not is_known(r10):
        return ""
    return f"retrieves no better than a random order does (R@10 {with_bounds(r10)}; by chance {chance_r10:.3f})"


def closing(closed: Sequence[Interval], asked: float = math.nan, whose: str = "the reconstruction's") -> str:
    """Return `closes the reconstruction's gap by …`, or that it widens it.

    closed: of each training; asked: as `told` takes it; whose: the gap is.
    """
    if not over_trainings(closed)["value"] < 0:
        return f"closes {whose} gap by {told(closed, '.0%', asked)}"
    return f"widens {whose} gap by {told([*map(negated, closed)], '.0%')}"


def emptied(runs: Sequence[Results], variant: str) -> str:
    """Return `, but nothing is left of …` where a variant is emptied of most rows, in the first such training."""
    said = [nothing for results in runs if (nothing := nothing_left(results, variant))]
    where = f" in {len(said)} of {len(runs)} trainings" * (len(runs) > 1)
    return f", but {said[0]}{where}" if said else ""


def negated(interval: Interval) -> Interval:
    """Return a number and its interval with the other sign."""
    return {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}


def _gap(runs: Sequence[Results]) -> Finding:
    before, after = (with_bounds(gap_left(runs, name)) for name in ("reconstructed", "bimodal"))
    closed = [gap_closed(results, "bimodal") for results in runs]
    if math.isnan(closed[0]["value"]):
        nothing = "There is no gap between the reconstructed modalities that could be closed."
        return Finding("undecided", nothing, "there is no gap to close")
    empty = emptied(runs, "bimodal")
    removed = f"{closing(closed, MOST_OF_THE_GAP)}{empty}"
    return Finding(
        agreed(
            "undecided" if nothing_left(results, "bimodal") else above(each, MOST_OF_THE_GAP)
            for results, each in zip(runs, closed, strict=True)
        ),
        f"Removing the unimodal atoms {removed}: the difference in means goes from {before} to {after}. "
        f"Asked: above {MOST_OF_THE_GAP:.0%}.",
        f"removing the unimodal atoms {removed} (asked: above {MOST_OF_THE_GAP:.0%})",
    )


def _retrieval(runs: Sequence[Results], chance_r10: float, original_r10: float) -> list[Finding]:
    """Shares of the reconstruction's R@10, of the same draws of queries; beside the first, that of the original's."""
    known = [not at_chance(results, chance_r10) for results in runs]
    if not any(map(_has_unimodal, runs)):
        nothing = "No atom is unimodal, so that bimodal atoms alone are all of them: what is kept without the others"
        return [Finding("undecided", f"{nothing} says nothing.", "no atom is unimodal: there is none to do without")]
    if not any(known):
        lost = f"The reconstruction {at_chance(runs[0], chance_r10)}: there is nothing that atoms could keep."
        return [Finding("undecided", lost, "the reconstruction retrieves no better than a random order")]
    whole = number(over_trainings([results["retrieval"]["reconstructed"]["r10"] for results in runs])["value"], ".3f")
    kept, alone = ([recall_kept(results, name) for results in runs] for name in ("bimodal", "unimodal"))
    r10 = {name: told([results["retrieval"][name]["r10"] for results in runs]) for name in ("bimodal", "unimodal")}
    keeping, retrieving = told(kept, ".0%", KEPT_RETRIEVAL), told(alone, ".0%", UNIMODAL_RETRIEVAL)
    of_original = recall_of_original(runs, "bimodal", original_r10)

    def state(decided: Iterable[State]) -> State:
        return agreed(
            each if can and _has_unimodal(results) else "undecided"
            for each, can, results in zip(decided, known, runs, strict=True)
        )

    return [
        Finding(
            state(above(each, KEPT_RETRIEVAL) for each in kept),
            f"Bimodal atoms alone keep {keeping} of the reconstruction's retrieval: "
            f"R@10 {r10['bimodal']} of {whole}, {of_original}. Asked: above {KEPT_RETRIEVAL:.0%}.",
            f"bimodal atoms alone keep {keeping} of the reconstruction's R@10 (asked: above {KEPT_RETRIEVAL:.0%})",
        ),
        Finding(
            state(below(each, UNIMODAL_RETRIEVAL) for each in alone),
            f"Unimodal atoms alone retrieve {retrieving} of it: R@10 {r10['unimodal']}. "
            f"Asked: below {UNIMODAL_RETRIEVAL:.0%}.",
            f"unimodal atoms alone retrieve {retrieving} of the reconstruction's R@10 "
            f"(asked: below {UNIMODAL_RETRIEVAL:.0%})",
        ),
    ]


def _has_unimodal(results: Results) -> bool:
    return any(results.get(f"{modality}_only_atoms", 1) for modality in ("image", "text"))  # of before: not known


def _always_on(runs: Sequence[Results]) -> Finding:
    shares = [results["always_on_energy_share"] for results in runs]
    held = f"{median(shares):.1%}{ranging(shares, '.1%')} of the energy"
    return Finding(
        agreed("holds" if share < ALWAYS_ON_SHARE else "fails" for share in shares),
        f"Atoms that are always on (f > {ALWAYS_ON_FREQUENCY}) hold {held}. Asked: below {ALWAYS_ON_SHARE:.0%}, "
        f"without an interval.",
        f"atoms that are always on hold {held} (asked: below {ALWAYS_ON_SHARE:.0%})",
    )


def _against_centring(runs: Sequence[Results]) -> Finding:
    ahead = [negated(results["rivals"]["r1"]["ahead_of_bimodal"]["centred"]) for results in runs]
    state = agreed(above(each, 0) for each in ahead)
    found = {
        "holds": "removing the unimodal atoms beats centring the same reconstruction",
        "fails": "removing the unimodal atoms loses to centring the same reconstruction",
        "undecided": "removing the unimodal atoms cannot be told from centring the same reconstruction",
        "differs": "trainings differ in whether removing the unimodal atoms beats centring the same reconstruction",
    }[state]
    bimodal, centred = (told([results["retrieval"][name]["r1"] for results in runs]) for name in ("bimodal", "centred"))
    return Finding(
        state,
        f"At recall, {found}: R@1 {bimodal} against {centred}, a paired difference of {told(ahead, '+.3f')}"
        f"{by_training(ahead)}.",
        f"{found.replace(' the same reconstruction', '')} at R@1, {told(ahead, '+.3f')}",
    )


def _agreement(runs: Sequence[Results]) -> Finding:
    """Whether sides agree in the measured pairs, by the test there, beside what it finds in the fitted ones."""
    shares, fitted = [agreeing(results) for results in runs], [_agreeing_in_fitted(results) for results in runs]
    share, more = (told(found, ".1%", AGREEING_ENERGY) for found in (shares, fitted))
    shuffled = [results["agreement"]["shuffled_pairs"] for results in runs]
    correlation = told([results["agreement"]["correlation"] for results in runs], ".2f")
    found = f"{number(median(shuffled), '.1%')}{ranging(shuffled, '.1%')}"
    too_much = [value >= SHUFFLED_AGREEING for value in shuffled]
    nothing = "; the test finds so much where there is nothing that it decides nothing" * any(too_much)
    measured = all("measured_pairs" in results["agreement"] for results in runs)  # those of before have none
    pairs = "measured pairs" if measured else "fitted pairs"
    return Finding(
        agreed(
            _beyond(_enough(above(each, AGREEING_ENERGY), above(in_more, AGREEING_ENERGY)), lax)
            for each, in_more, lax in zip(shares, fitted, too_much, strict=True)
        ),
        f"Of the bimodal energy, {share} is in atoms whose sides agree: their two coefficients go together in the "
        f"{pairs} beyond chance, at a false discovery rate of 5%"
        + f"; in atoms that agree in the fitted pairs, {more}: the more pairs, the more the test finds"
        * measured
        + f". In the fitted pairs shuffled the same test finds {found}. The mean "
        f"correlation of all bimodal atoms, weighted by energy, is {correlation}. Asked: above {AGREEING_ENERGY:.0%}, "
        f"and below {SHUFFLED_AGREEING:.0%} in shuffled pairs{nothing}.",
        f"{share} of the bimodal energy agrees in the {pairs}"
        + f", {more} in the fitted ones" * measured
        + f" (asked: above {AGREEING_ENERGY:.0%})"
        + f", and {found} in shuffled ones" * any(too_much),
    )


def _enough(state: State, in_more_pairs: State) -> State:
    """Return what a test comes to on some pairs that finds more on more of them: too little is no finding there."""
    return "undecided" if state == "fails" and in_more_pairs != "fails" else state


def _beyond(state: State, lax: bool) -> State:
    """Return what a test comes to that is lax: one that finds the same in what should show nothing."""
    return "undecided" if lax and state == "holds" else state


def _null(sae: Sae, nulls: Sequence[Sae]) -> Finding:
    """Compare with the null model that makes the most bimodal energy."""
    if not nulls:
        return Finding(
            "undecided",
            "What the objective makes of shuffled pairs was not measured: train its null model "
            f"with `{NULL_COMMAND}` and give it to `isoenergy evaluate` beside this SAE.",
            f"no null model is beside it (`{NULL_COMMAND}`)",
        )
    null = strictest(nulls)
    ahead = ahead_of(sae, null, "bimodal_energy_share")
    points = told([in_points(each) for each in ahead], "+.1f")
    unlike = other_seeds(sae, null)
    state = agreed(above(each, 0) for each in ahead)
    claim = {
        "holds": "Pairs that belong together add bimodal energy",
        "fails": "Pairs that belong together take bimodal energy away",
        "undecided": "Whether pairs that belong together add bimodal energy cannot be told",
        "differs": "Trainings differ in whether pairs that belong together add bimodal energy",
    }[state]
    by_probes = {
        "holds": "higher than there",
        "fails": "lower than there",
        "undecided": "no difference beyond the intervals, which shows nothing",
        "differs": "trainings differ, which shows nothing",
    }[agreed(above(each, 0) for each in ahead_of(sae, null, "p_acc"))]
    share, r2, p_acc = (
        [told([drawn(results, name) for results in trainings(one)], form) for one in (sae, null)]
        for name, form in (("bimodal_energy_share", ".1%"), ("r2", ".3f"), ("p_acc", ".3f"))
    )
    unequal = any(above(each, 0) != "undecided" for each in ahead_of(sae, null, "r2"))
    return Finding(
        state,
        f"{claim}: it is {share[0]} at R² {r2[0]}, and {share[1]} at R² {r2[1]} where the same objective was given "
        f"shuffled pairs{unlike}{_NOT_AT_EQUAL_R2 * unequal}. p_acc: {p_acc[0]}, and {p_acc[1]} there: {by_probes}.",
        f"{claim[0].lower()}{claim[1:]}: {points} points over the null model",
    )


def in_points(share: Interval) -> Interval:
    """Return a share and its interval in percent points."""
    return {name: 100 * value for name, value in share.items()}


def strictest(nulls: Sequence[Sae]) -> Sae:
    """Return the null model that makes the most bimodal energy."""
    return max(nulls, key=lambda null: bimodal_share(null)["value"])


def drawn(results: Results, name: str) -> Interval:
    """Return R², bimodal energy or p_acc, which SAEs are compared by."""
    found: Interval = results["geometry"]["p_acc_interval"] if name == "p_acc" else results["intervals"][name]
    return found


def ahead_of(sae: Sae, other: Sae, name: str) -> list[Interval]:
    """Return how far each training of an SAE is above that of another with the same seed, in the same draws of pairs.

    Trainings that the other has not are set against its first: see `other_seeds`. Evaluations of before have no such
    difference: it is then between the worst ends of both intervals.
    """
    found = []
    for results in trainings(sae):
        paired: Interval | None = results.get("against", {}).get(other["name"], {}).get(name)
        found.append(paired or _between_worst_ends(drawn(results, name), drawn(other["results"], name)))
    return found


def by_training(differences: Sequence[Interval]) -> str:
    """Return how several trainings' differences are told: not as that of their medians; nothing to say of one."""
    return " (median of the differences, training by training)" if len(differences) > 1 else ""


def other_seeds(sae: Sae, other: Sae) -> str:
    """Return how many trainings `ahead_of` sets against one of another seed; nothing to say of none."""
    trained, there = len(trainings(sae)), len(trainings(other))
    if trained <= there:
        return ""
    return f" ({trained - there} of {trained} trainings are set against one of another seed: theirs is not beside it)"


def _between_worst_ends(first: Interval, second: Interval) -> Interval:
    return {
        "value": first["value"] - second["value"],
        "low": first["low"] - second["high"],
        "high": first["high"] - second["low"],
    }


def bimodal_share(sae: Sae) -> Interval:
    """Return the share of the energy that bimodal atoms hold."""
    return drawn(sae["results"], "bimodal_energy_share")
