"""Is alignment neutral where Iso-Energy does not hold? A test over seeds, of the bimodal energy that it makes up."""

from collections.abc import Sequence
from typing import Any

from isoenergy.report.synthetic.over_seeds import Interval, SeedResults, mean_and_interval

MARGIN = 0.01
"""Of the energy: an alignment that makes up surely less is neutral."""
_NOTHING: Interval = {"mean": None, "low": None, "high": None}


def neutrality(run: SeedResults, runs: Sequence[SeedResults]) -> list[dict[str, Any]]:
    """Return a verdict for each β above 0 of a run whose concepts are two atoms each.

    runs: all of them; the baseline is the β = 0 of the same τ₁ and encoder, seed by seed, since alignment has no part
    in it. Beyond the truth: bimodal energy minus that of D′. Made up: what is beyond both D′ and the baseline, seed by
    seed. The verdict is `not neutral` if the 95 % interval of what is made up lies above 0, `neutral` if it ends below
    0.01, else `undecided`: too few seeds to tell. A single seed, or a number that is missing, has none.
    """
    found = []
    baselines = _baselines(run, runs)
    for beta in run.seeds[0]["saes"]:
        if float(beta) == 0:
            continue
        energy = [seed["saes"][beta]["bimodal_energy"] for seed in run.seeds]
        truth = [seed["ideals"]["instances"]["bimodal_energy"] for seed in run.seeds]
        beyond_truth = [own - true for own, true in zip(energy, truth, strict=True)]
        beyond_baseline = [own - base for own, base in zip(energy, baselines, strict=True)] if baselines else []
        made_up = [min(pair) for pair in zip(beyond_truth, beyond_baseline or beyond_truth, strict=True)]
        interval = mean_and_interval(made_up)
        found.append(
            {
                "instance_cosine": run.instance_cosine,
                "sparse_encoder": run.sparse_encoder,
                "alignment": run.alignment,
                "beta": float(beta),
                "beyond_truth": mean_and_interval(beyond_truth),
                "beyond_baseline": mean_and_interval(beyond_baseline) if baselines else _NOTHING,
                "made_up": interval,
                "verdict": _verdict(interval),
            }
        )
    return found


def _baselines(run: SeedResults, runs: Sequence[SeedResults]) -> list[float]:
    for other in runs:
        if (other.instance_cosine, other.sparse_encoder) == (run.instance_cosine, run.sparse_encoder):
            energies = [seed["saes"]["0"]["bimodal_energy"] for seed in other.seeds if "0" in seed["saes"]]
            if energies:
                return energies
    return []


def _verdict(made_up: Interval) -> str:
    if made_up["low"] is None:
        return "no verdict"
    if made_up["low"] > 0:
        return "not neutral"
    return "neutral" if made_up["high"] is not None and made_up["high"] < MARGIN else "undecided"
