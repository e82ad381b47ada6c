"""The evaluation in three sentences: what bimodal atoms hold, what they do alone, and what of it is by the pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoenergy.report.intervals import Interval, number, with_bounds
from isoenergy.report.page.verdict import (
    ALWAYS_ON_SHARE,
    NULL_COMMAND,
    above,
    at_chance,
    bimodal_share,
    closing,
    difference,
    gap_closed,
    negated,
    recall_kept,
    strictest,
)
from isoenergy.report.saes import Sae, nulls_of, real_saes


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
    sentences = _energy(sae, real, labels), _removal(sae["results"], chance_r10, original_r10), _against_null(sae, saes)
    return Headline(sae, labels[sae["name"]], choice, sentences)


def _energy(sae: Sae, real: Sequence[Sae], labels: Mapping[str, str]) -> str:
    """How much of the energy is bimodal, and what that costs in R² against the same SAE without alignment."""
    share, r2 = bimodal_share(sae), _r2(sae)
    found = (
        f"Bimodal atoms of {labels[sae['name']]} hold {with_bounds(share, '.1%')} of the energy at R² "
        f"{with_bounds(r2)} against the mean of all entries, {_number(sae, 'r2_centred')} against each modality’s own "
        f"means (which alone reach {_number(sae, 'r2_of_means')} of the former)"
    )
    if not sae["config"]["beta"]:
        return f"{found}; nothing asked them to align."
    plain = [other for other in real if other["config"] == {**sae["config"], "beta": 0.0}]
    if not plain:
        return f"{found}; what that costs in R² was not measured: no SAE with β = 0 is beside it."
    cost = difference(_r2(plain[0]), r2)
    state = above(cost, 0)
    verb = {"holds": "costs", "fails": "gains", "undecided": "costs, as far as can be told, nothing:"}[state]
    return (
        f"{found}; without alignment they hold {with_bounds(bimodal_share(plain[0]), '.1%')}, and alignment "
        f"{verb} {with_bounds(negated(cost) if state == 'fails' else cost)} of R²."
    )


def _removal(results: Mapping[str, Any], chance_r10: float, original_r10: float) -> str:
    """How far removing unimodal atoms closes the gap and what retrieval it keeps, and what centring does."""
    if math.isnan(gap_closed(results, "bimodal")["value"]):
        return "There is no gap between the reconstructed modalities that removing unimodal atoms could close."
    before, after = (
        results["geometry"][name]["difference_in_means_interval"]["value"] for name in ("reconstructed", "bimodal")
    )
    nothing = at_chance(results, chance_r10)
    removal, centring = (
        f"{closing(gap_closed(results, variant))}{moved}{'' if nothing else _keeping(results, variant, original_r10)}"
        for variant, moved in (("bimodal", f" (difference in means {before:.3f} → {after:.3f})"), ("centred", ""))
    )
    found = f"Removing the unimodal atoms {removal}; centring the same reconstruction {centring}."
    return f"{found} The reconstruction {nothing}." if nothing else found


def _keeping(results: Mapping[str, Any], variant: str, original_r10: float) -> str:
    of_original = results["retrieval"][variant]["r10"]["value"] / original_r10 if original_r10 > 0 else math.nan
    return (
        f" and keeps {with_bounds(recall_kept(results, variant), '.0%')} of the reconstruction's R@10, "
        f"{number(of_original, '.0%')} of the original embeddings'"
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
    added = difference(bimodal_share(sae), bimodal_share(null))
    state = above(added, 0)
    points = {name: 100 * value for name, value in added.items()}
    claim = {
        "holds": f"Pairs that belong together add {with_bounds(points, '.1f')} points of bimodal energy",
        "fails": f"Pairs that belong together take {with_bounds(negated(points), '.1f')} points of bimodal energy away",
        "undecided": "Whether pairs that belong together add bimodal energy cannot be told: "
        f"{with_bounds(points, '+.1f')} points",
    }[state]
    return (
        f"{claim}, against the null model: the same objective, given shuffled pairs, makes "
        f"{with_bounds(bimodal_share(null), '.1%')} of the energy bimodal (one training each)."
    )


def _number(sae: Sae, name: str) -> str:
    return number(sae["results"].get(name, math.nan), ".3f")


def _r2(sae: Sae) -> Interval:
    found: Interval = sae["results"]["intervals"]["r2"]
    return found
