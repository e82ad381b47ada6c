"""The SAEs of an evaluation: what they are called, and which is the null of which."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isoenergy.sae.layouts.foreign_source import LAYOUTS

Sae = Mapping[str, Any]


def sae_label(sae: Sae) -> str:
    """Return what the paper calls it: SAE for β = 0, else SAE-A; a null model says whose null it is.

    One of another library, which has no β, is called by the library, with which its name begins.
    """
    beta = sae["config"]["beta"]
    for layout in LAYOUTS:
        if not beta and sae["name"].startswith(f"{layout}-"):
            return f"SAE of {layout}"
    label = f"SAE-A (β = {beta:g})" if beta else "SAE (β = 0)"
    return f"null of {label}" if is_null(sae) else label


def labels(saes: Sequence[Sae]) -> dict[str, str]:
    """Return each SAE's label by its name; SAEs that share a label add their names, repeats say so."""
    plain = [sae_label(sae) for sae in saes]
    found = {
        sae["name"]: label if plain.count(label) == 1 else f"{label}, {sae['name']}"
        for sae, label in zip(saes, plain, strict=True)
    }
    repeats = {each["name"]: f"{found[sae['name']]}, another seed" for sae in saes for each in sae.get("repeats", ())}
    return found | repeats


def trainings(sae: Sae) -> list[Mapping[str, Any]]:
    """Return the results of an SAE, and of those that differ from it in nothing but the seed."""
    return [sae["results"], *(repeat["results"] for repeat in sae.get("repeats", ()))]  # of before there are none


def is_null(sae: Sae) -> bool:
    """Return whether it was trained on shuffled pairs."""
    return bool(sae["config"]["null"])


def real_saes(saes: Sequence[Sae]) -> list[Sae]:
    """Return those that were trained on pairs that belong together."""
    return [sae for sae in saes if not is_null(sae)]


def nulls_of(sae: Sae, saes: Sequence[Sae]) -> list[Sae]:
    """Return the null models whose configuration is that of a real SAE."""
    wanted = {**sae["config"], "null": True}
    return [other for other in saes if other["config"] == wanted]


def nothing_left(part: Mapping[str, Any], variant: str) -> str:
    """Return `nothing is left of N of M rows` where that is most of what is measured; else nothing to say.

    part: the results of an SAE, or of the embeddings. A gap between rows that are zero is closed by taking all away.
    """
    zero = sum(part["retrieval"][variant].get("zero_rows", {}).values())  # of before there are none
    rows = 2 * part.get("pairs", math.inf)
    return f"nothing is left of {zero:,} of {rows:,} rows" if zero > rows / 2 else ""
