"""Evaluations made by hand, as far as the report's sentences and tables read them."""

from collections.abc import Mapping
from typing import Any

from isoenergy.evaluation.ways import CONTROLS, WAYS
from isoenergy.report.tables.rivals import VARIANTS

NAN = float("nan")
ORIGINAL = ("original", *(name for name, way in WAYS.items() if way.linear))
REBUILT = tuple(name for name in VARIANTS if name != "original")


def interval(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def part(names: tuple[str, ...], recall: Mapping[str, float], gap: Mapping[str, float]) -> dict[str, Any]:
    """Retrieval and geometry of variants; those not named have a recall of 0.2 and a gap of 0.4."""
    first = recall.get(names[0], 0.2)
    retrieval, geometry = {}, {}
    for name in names:
        value = recall.get(name, 0.2)
        retrieval[name] = {
            **{f"{kind}r{rank}": interval(value) for kind in ("", "in_batches_") for rank in (1, 5, 10)},
            **{f"change_{kind}r{rank}": interval(value - first) for kind in ("", "in_batches_") for rank in (1, 5, 10)},
            "kept_r10": interval(value / first if first else NAN, 0.01 / first if first else NAN),
        }
        distance = gap.get(name, 0.4)
        geometry[name] = {
            f"{measure}_interval": interval(distance)
            for measure in ("difference_in_means", "optimal_transport", "relative_modality_gap")
        }
        whole = gap.get(names[0], 0.4)
        geometry[name]["gap_closed_interval"] = interval(1 - distance / whole if whole else NAN, 0.025)
    return {"retrieval": {**retrieval, "sweeps": {}}, "geometry": {**geometry, "sweeps": {}}}


def original(recall: Mapping[str, float] = {}, gap: Mapping[str, float] = {}) -> dict[str, Any]:
    return part(ORIGINAL, recall, gap)


def sae(
    recall: Mapping[str, float] = {},
    gap: Mapping[str, float] = {},
    of_original: Mapping[str, float] = {},
    share: float = 0.8,
    **config: Any,
) -> dict[str, Any]:
    """An SAE-A; what is compared with its bimodal atoms follows from the recalls."""
    results = part(REBUILT, recall, gap)
    values = {name: results["retrieval"][name]["r1"]["value"] for name in REBUILT if name not in CONTROLS}
    values |= {f"original/{name}": of_original.get(name, 0.2) for name in ORIGINAL}
    ranked = sorted(values, key=lambda name: -values[name])
    rivals = {
        "winner": ranked[0],
        "lead": interval(values[ranked[0]] - values[ranked[1]]),
        "place_of_bimodal": ranked.index("bimodal") + 1,
        "rivals": len(ranked),
        "ahead_of_bimodal": {n: interval(values[n] - values["bimodal"]) for n in ranked if n != "bimodal"},
    }
    results |= {
        "rivals": {"r1": rivals, "in_batches_r1": rivals},
        "always_on_energy_share": 0.0,
        "r2_centred": 0.7,
        "r2_of_means": 0.2,
        "intervals": {"bimodal_energy_share": interval(share), "r2": interval(0.8)},
    }
    results["geometry"] |= {"p_acc": 0.9, "p_acc_interval": interval(0.9)}
    settings = {"dim": 4, "atoms": 8, "k": 2, "beta": 0.001, "sparse_encoder": {"name": "relu"}, "null": False}
    return {"name": "beta-0.001", "config": {**settings, **config}, "results": results}


def seeds(first: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """An SAE, and others that differ from it in nothing but the seed."""
    repeats = [{"name": f"{first['name']}-{n}", "results": one["results"]} for n, one in enumerate(others, 1)]
    return {**first, "repeats": repeats}


def measured() -> dict[str, Any]:
    """An SAE-A with some of the numbers that the paper's table has."""
    one = sae()
    one["results"] |= {"mse": 0.25, "l0": 8.0, "dead_atoms": 3, "bimodal_energy_share": 0.8}
    one["results"]["intervals"] |= {"mse": interval(0.25)}
    one["results"]["bridges"] = {"rho": 2.0, "rho_interval": interval(2.0, 1.0)}
    return one
