"""The evaluation in three sentences: what bimodal atoms hold, what they do alone, and what of it is by the pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from isoenergy.report.intervals import Interval, is_known, number, told
from isoenergy.report.page.verdict import (
    ALWAYS_ON_SHARE,
    NULL_COMMAND,
    above,
    agreed,
    ahead_of,
    at_chance,
    by_training,
    closing,
    drawn,
    emptied,
    gap_closed,
    gap_left,
    in_points,
    negated,
    other_seeds,
    recall_kept,
    recall_of_original,
    strictest,
)
from isoenergy.report.saes import Sae, nulls_of, real_saes, trainings


@dataclass(frozen=True)
class Headline:
    """What an evaluation comes to."""

    sae: Sae
    label: str
    choice: str
    """Why it is about this SAE; nothing to say of a single one."""
    sentences: tuple[str, str, str]


def headline(saes: Sequence[Sae], labels: Mapping[str, str], chance_r10: float, original_r10: float) -> Headline | None:
    """Return the evaluation in three sentences, whichever way it went; None if all SAEs are null models.

    They are about the SAE with the largest β of those whose atoms are not always on: a rule that looks at no result
    that they tell. chance_r10: R@10 of a gallery in random order; original_r10: that of the embeddings as they are.
    """
    real = real_saes(saes)
    if not real:
        return None
    sound = [sae for sae in real if sae["results"]["always_on_energy_share"] < ALWAYS_ON_SHARE]
    sae = max(sound or real, key=lambda candidate: candidate["config"]["beta"])
    choice = ""
    if len(real) > 1:
        those = "whose atoms are not always on" if sound else "of which all have atoms that are always on"
        choice = f"{labels[sae['name']]}: the largest β of {len(real)} SAEs {those}."
    sentences = _energy(sae, real, labels), _removal(trainings(sae), chance_r10, original_r10), _against_null(sae, saes)
    return Headline(sae, labels[sae["name"]], choice, sentences)


def _energy(sae: Sae, real: Sequence[Sae], labels: Mapping[str, str]) -> str:
    """How much of the energy is bimodal, and what that costs in R² against the same SAE without alignment."""
    found = (
        f"Bimodal atoms of {labels[sae['name']]} hold {_told(sae, 'bimodal_energy_share', '.1%')} of the energy at R² "
        f"{_told(sae, 'r2')} (centred {_number(sae, 'r2_centred')}; the means alone {_number(sae, 'r2_of_means')})"
    )
    if not sae["config"]["beta"]:
        return f"{found}; nothing asked them to align."
    plain = [other for other in real if other["config"] == {**sae["config"], "beta": 0.0}]
    if not plain:
        return f"{found}; what that costs in R² was not measured: no SAE with β = 0 is beside it."
    cost = [negated(each) for each in ahead_of(sae, plain[0], "r2")]
    state = agreed(above(each, 0) for each in cost)
    nothing = "costs, as far as can be told, nothing:" if all(map(is_known, cost)) else "costs, without an interval,"
    verb = {
        "holds": "costs",
        "fails": "gains",
        "undecided": nothing,
        "differs": "costs, by the training,",
    }[state]
    return (
        f"{found}; without alignment they hold {_told(plain[0], 'bimodal_energy_share', '.1%')}, and alignment "
        f"{verb} {told([negated(each) for each in cost] if state == 'fails' else cost)} of R²"
        f"{by_training(cost)}{other_seeds(sae, plain[0])}."
    )


def _removal(runs: Sequence[Mapping[str, Any]], chance_r10: float, original_r10: float) -> str:
    """How far removing unimodal atoms closes the gap and what retrieval it keeps, and what centring does."""
    results = runs[0]
    if math.isnan(gap_closed(results, "bimodal")["value"]):
        return "There is no gap between the reconstructed modalities that removing unimodal atoms could close."
    before, after = (gap_left(runs, name)["value"] for name in ("reconstructed", "bimodal"))
    nothing = at_chance(results, chance_r10) if all(at_chance(each, chance_r10) for each in runs) else ""
    removal, centring = (
        f"{closing([gap_closed(each, variant) for each in runs], whose=whose)}{moved}{emptied(runs, variant)}"
        f"{'' if nothing else _keeping(runs, variant, original_r10)}"
        for variant, whose, moved in (
            ("bimodal", "the reconstruction's", f" (difference in means {before:.3f} → {after:.3f})"),
            ("centred", "its", ""),
        )
    )
    found = f"Removing the unimodal atoms {removal}; centring the same reconstruction {centring}."
    return f"{found} The reconstruction {nothing}." if nothing else found


def _keeping(runs: Sequence[Mapping[str, Any]], variant: str, original_r10: float) -> str:
    return (
        f" and keeps {told([recall_kept(results, variant) for results in runs], '.0%')} of the reconstruction's R@10, "
        f"{recall_of_original(runs, variant, original_r10)}"
    )


def _against_null(sae: Sae, saes: Sequence[Sae]) -> str:
    """What true pairs add to what the same objective makes of shuffled ones."""
    if not sae["config"]["beta"]:
        return "Without alignment there is nothing that a null model could have in common with it: β is 0."
    nulls = nulls_of(sae, saes)
    if not nulls:
        return (
            "What alignment adds over its null model, the same objective given shuffled pairs, was not measured "
            f"(`{NULL_COMMAND}`)."
        )
    null = strictest(nulls)
    added = ahead_of(sae, null, "bimodal_energy_share")
    state = agreed(above(each, 0) for each in added)
    away, points = [in_points(negated(each)) for each in added], [in_points(each) for each in added]
    claim = {
        "holds": f"Pairs that belong together add {told(points, '.1f')} points of bimodal energy",
        "fails": f"Pairs that belong together take {told(away, '.1f')} points of bimodal energy away",
        "undecided": "Whether pairs that belong together add bimodal energy cannot be told: "
        f"{told(points, '+.1f')} points",
        "differs": "Trainings differ in whether pairs that belong together add bimodal energy: "
        f"{told(points, '+.1f')} points",
    }[state]
    return (
        f"{claim}{by_training(added)}, against the null model: the same objective, given shuffled pairs, makes "
        f"{_told(null, 'bimodal_energy_share', '.1%')} of the energy bimodal, at R² {_told(null, 'r2')}"
        f"{other_seeds(sae, null)}."
    )


def _number(sae: Sae, name: str) -> str:
    return number(median(results.get(name, math.nan) for results in trainings(sae)), ".3f")


def _told(sae: Sae, name: str, form: str = ".3f") -> str:
    found: list[Interval] = [drawn(results, name) for results in trainings(sae)]
    return told(found, form)
