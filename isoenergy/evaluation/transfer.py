"""Whether an intervention carries over: fitted on another store's pairs, beside fitted on the measured store's own."""

from collections.abc import Mapping
from typing import Any

from isoenergy.evaluation.ways import CONTROLS, ORIGINAL, RECONSTRUCTED, beginning

Measured = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Geometry and retrieval of each variant, see `measure_geometry` and `merge_search`."""


def transfer_rows(sae: str | None, carried: Measured, refitted: Measured) -> list[dict[str, Any]]:
    """Return a row a variant: the share of the gap that it closes and R@10, as intervals, by where its fit comes from.

    sae: name of the SAE; None for the embeddings themselves. carried: fitted on the train split of the fit store;
    refitted: on that of the measured store, which is adaptation. The gap is the difference in means; the share closed
    is of that of what the variant begins with, `of`: see `beginning`.
    """
    fits = {"carried": carried, "refitted": refitted}
    left_out = (ORIGINAL, RECONSTRUCTED, *CONTROLS)
    variants = [name for name in carried[0] if _is_variant(carried[0][name]) and name not in left_out]
    return [
        {
            "sae": sae,
            "embeddings": name,
            "of": beginning(name, sae is not None),
            "gap_closed": {where: geometry[name]["gap_closed_interval"] for where, (geometry, _) in fits.items()},
            "r10": {where: retrieval[name]["r10"] for where, (_, retrieval) in fits.items()},
        }
        for name in variants
        if name in carried[1]
    ]


def _is_variant(value: Any) -> bool:
    return isinstance(value, Mapping) and "difference_in_means" in value
