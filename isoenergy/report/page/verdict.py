"""The evaluation in sentences, good news or bad."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isoenergy.report.intervals import Interval, number, with_bounds
from isoenergy.report.saes import Sae, nulls_of
from isoenergy.statistics.concept_statistics import ALWAYS_ON_FREQUENCY

KEPT_RETRIEVAL = 0.9
UNIMODAL_RETRIEVAL = 0.1
MOST_OF_THE_GAP = 0.9
AGREEING_ENERGY = 0.9
ALWAYS_ON_SHARE = 0.05
NULL_COMMAND = "isoenergy train … --null"

State = Literal["holds", "fails", "undecided"]
MARKS: dict[State, str] = {"holds": "✓", "fails": "✗", "undecided": "?"}


@dataclass(frozen=True)
class Finding:
    """One thing that the hypothesis predicts, and what was found."""

    state: State
    """undecided: the interval has both sides of what is asked for, or there is nothing to tell it from."""
    text: str

    @property
    def mark(self) -> str:
        """✓, ✗ or ?."""
        return MARKS[self.state]


def recall_at_10(retrieval: dict[str, float]) -> float:
    """Return R@10, averaged over both directions."""
    return (retrieval["image_to_text_r10"] + retrieval["text_to_image_r10"]) / 2


def verdict(sae: Sae, saes: Sequence[Sae], chance_r10: float) -> list[Finding]:
    """Return what the hypothesis predicts of an SAE, and whether the intervals bear it out.

    saes: all of the evaluation; its null models are among them. chance_r10: R@10 of a gallery in random order.
    """
    results = sae["results"]
    found = [_gap(results), *_retrieval(results, chance_r10), _always_on(results), _against_centring(results)]
    if "agreement" in results:  # evaluations of before have none
        found.append(_agreement(results["agreement"]))
    return found + ([_null(sae, nulls_of(sae, saes))] if sae["config"]["beta"] else [])


def above(interval: Interval, least: float) -> State:
    """Return whether a number is above `least`: undecided if its interval has both sides of it, or is NaN."""
    if interval["low"] > least:
        return "holds"
    return "fails" if interval["high"] < least else "undecided"


def below(interval: Interval, most: float) -> State:
    """Return whether a number is below `most`, as `above` does."""
    return above({name: -interval[other] for name, other in (("low", "high"), ("high", "low"))}, -most)


def gap_closed(results: Mapping[str, Any], variant: str) -> Interval:
    """Return which share of the reconstruction's difference in means a variant closes; below 0 if it widens it.

    The ratio is that of each draw of pairs; NaN without a gap.
    """
    found: Interval = results["geometry"][variant]["gap_closed_interval"]
    return found


def recall_kept(results: Mapping[str, Any], variant: str) -> Interval:
    """Return which share of the reconstruction's R@10 a variant keeps; NaN of none.

    The ratio is that of each draw of queries.
    """
    found: Interval = results["retrieval"][variant]["kept_r10"]
    return found


def at_chance(results: Mapping[str, Any], chance_r10: float) -> str:
    """Return how the reconstruction retrieves no better than chance does; nothing to say if it does."""
    r10 = results["retrieval"]["reconstructed"]["r10"]
    if r10["low"] > chance_r10:
        return ""
    return f"retrieves no better than a random order does (R@10 {with_bounds(r10)}; by chance {chance_r10:.3f})"


def closing(closed: Interval) -> str:
    """Return `closes the gap by …`, or that it widens it."""
    if not closed["value"] < 0:
        return f"closes the gap by {with_bounds(closed, '.0%')}"
    return f"widens the gap by {with_bounds(negated(closed), '.0%')}"


def negated(interval: Interval) -> Interval:
    """Return a number and its interval with the other sign."""
    return {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}


def _gap(results: Mapping[str, Any]) -> Finding:
    before, after = (results["geometry"][name]["difference_in_means_interval"] for name in ("reconstructed", "bimodal"))
    closed = gap_closed(results, "bimodal")
    if math.isnan(closed["value"]):
        return Finding("undecided", "There is no gap between the reconstructed modalities that could be closed.")
    return Finding(
        above(closed, MOST_OF_THE_GAP),
        f"Removing the unimodal atoms {closing(closed)}: "
        f"the difference in means goes from {with_bounds(before)} to {with_bounds(after)}. "
        f"Asked: above {MOST_OF_THE_GAP:.0%}.",
    )


def _retrieval(results: Mapping[str, Any], chance_r10: float) -> list[Finding]:
    """Shares of the reconstruction's R@10, of the same draws of queries."""
    retrieval = {name: results["retrieval"][name] for name in ("reconstructed", "bimodal", "unimodal")}
    whole = retrieval["reconstructed"]["r10"]["value"]
    if nothing := at_chance(results, chance_r10):
        return [Finding("undecided", f"The reconstruction {nothing}: there is nothing that atoms could keep.")]
    kept = recall_kept(results, "bimodal")
    alone = recall_kept(results, "unimodal")
    return [
        Finding(
            above(kept, KEPT_RETRIEVAL),
            f"Bimodal atoms alone keep {with_bounds(kept, '.0%')} of the reconstruction's retrieval: "
            f"R@10 {with_bounds(retrieval['bimodal']['r10'])} of {whole:.3f}. Asked: above {KEPT_RETRIEVAL:.0%}.",
        ),
        Finding(
            below(alone, UNIMODAL_RETRIEVAL),
            f"Unimodal atoms alone retrieve {with_bounds(alone, '.0%')} of it: "
            f"R@10 {with_bounds(retrieval['unimodal']['r10'])}. Asked: below {UNIMODAL_RETRIEVAL:.0%}.",
        ),
    ]


def _always_on(results: Mapping[str, Any]) -> Finding:
    share = results["always_on_energy_share"]
    return Finding(
        "holds" if share < ALWAYS_ON_SHARE else "fails",
        f"Atoms that are always on (f > {ALWAYS_ON_FREQUENCY}) hold {share:.1%} of the energy. "
        f"Asked: below {ALWAYS_ON_SHARE:.0%}, without an interval.",
    )


def _against_centring(results: Mapping[str, Any]) -> Finding:
    ahead = negated(results["rivals"]["r1"]["ahead_of_bimodal"]["centred"])
    state = above(ahead, 0)
    beats = {"holds": "beats", "fails": "loses to", "undecided": "cannot be told from"}[state]
    bimodal, centred = (with_bounds(results["retrieval"][name]["r1"]) for name in ("bimodal", "centred"))
    return Finding(
        state,
        f"At recall, removing the unimodal atoms {beats} centring the same reconstruction: R@1 {bimodal} against "
        f"{centred}, a paired difference of {with_bounds(ahead, '+.3f')}.",
    )


def _agreement(agreement: Mapping[str, Any]) -> Finding:
    share = agreement["bimodal_energy_share"]
    return Finding(
        above(share, AGREEING_ENERGY),
        f"Of the bimodal energy, {with_bounds(share, '.1%')} is in atoms whose sides agree: their two coefficients go "
        f"together in pairs beyond shuffled ones, where the same test finds "
        f"{number(agreement['shuffled_pairs'], '.1%')} at a false discovery rate of 5%. The mean correlation of all "
        f"bimodal atoms, weighted by energy, is {with_bounds(agreement['correlation'], '.2f')}. "
        f"Asked: above {AGREEING_ENERGY:.0%}.",
    )


def _null(sae: Sae, nulls: Sequence[Sae]) -> Finding:
    """Compare with the null model that makes the most bimodal energy."""
    if not nulls:
        return Finding(
            "undecided",
            "What the objective makes of shuffled pairs was not measured: train its null model "
            f"with `{NULL_COMMAND}` and give it to `isoenergy evaluate` beside this SAE.",
        )
    null = strictest(nulls)
    state = above(difference(bimodal_share(sae), bimodal_share(null)), 0)
    claim = {
        "holds": "Pairs that belong together add bimodal energy",
        "fails": "Pairs that belong together take bimodal energy away",
        "undecided": "Whether pairs that belong together add bimodal energy cannot be told",
    }[state]
    told = {
        "holds": "higher than there",
        "fails": "lower than there",
        "undecided": "no difference beyond the intervals",
    }[above(difference(_p_acc(sae), _p_acc(null)), 0)]
    return Finding(
        state,
        f"{claim}: it is {with_bounds(bimodal_share(sae), '.1%')}, and {with_bounds(bimodal_share(null), '.1%')} where "
        f"the same objective was given shuffled pairs (one training each). p_acc: {with_bounds(_p_acc(sae))}, and "
        f"{with_bounds(_p_acc(null))} there: {told}.",
    )


def strictest(nulls: Sequence[Sae]) -> Sae:
    """Return the null model that makes the most bimodal energy."""
    return max(nulls, key=lambda null: bimodal_share(null)["value"])


def difference(first: Interval, second: Interval) -> Interval:
    """Return how far one number is above another of an apart measurement, with the worst ends of both intervals."""
    return {
        "value": first["value"] - second["value"],
        "low": first["low"] - second["high"],
        "high": first["high"] - second["low"],
    }


def bimodal_share(sae: Sae) -> Interval:
    """Return the share of the energy that bimodal atoms hold."""
    found: Interval = sae["results"]["intervals"]["bimodal_energy_share"]
    return found


def _p_acc(sae: Sae) -> Interval:
    found: Interval = sae["results"]["geometry"]["p_acc_interval"]
    return found
