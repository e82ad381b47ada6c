"""What MLflow is told of an evaluation: the few numbers that people compare runs by, and all others in one table.

A run with thousands of metrics is a page that a browser draws for seconds and nobody reads.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

MEASURES_FILE = "measures.json"

_OF_AN_SAE = {
    "r2": "r2",
    "r2_centred": "r2_centred",
    "bimodal_energy": "bimodal_energy_share",
    "agreement": "agreement.measured_pairs.value",
    "agreement_in_fitted_pairs": "agreement.bimodal_energy_share.value",
    "p_acc": "geometry.p_acc",
    "gap_bimodal": "geometry.bimodal.difference_in_means",
    "gap_closed": "geometry.bimodal.gap_closed_interval.value",
    "r10_rebuilt": "retrieval.reconstructed.r10.value",
    "r10_bimodal": "retrieval.bimodal.r10.value",
    "r10_kept": "retrieval.bimodal.kept_r10.value",
}
_OF_THE_EMBEDDINGS = {
    "gap": "geometry.original.difference_in_means",
    "r10": "retrieval.original.r10.value",
}


def headline_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return, by metric, some ten numbers an SAE, of the first of several seeds, and two of the embeddings."""
    found = {f"embeddings/{name}": value for name, value in _chosen(summary.get("original", {}), _OF_THE_EMBEDDINGS)}
    for sae in summary["saes"]:
        found |= {f"{sae['name']}/{name}": value for name, value in _chosen(sae["results"], _OF_AN_SAE)}
    return found


def measures_table(summary: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return every number of an evaluation: a row a measure, a column each for the embeddings and every SAE.

    None stands where something has no such measure, or where it is not finite.
    """
    of = {"embeddings": dict(_numbers(summary.get("original") or summary["vectors"]))}
    for sae in summary["saes"]:
        of |= {each["name"]: dict(_numbers(each["results"])) for each in (sae, *sae.get("repeats", ()))}
    for task in summary["tasks"]:
        for row in task["rows"]:
            measured = "/".join(filter(None, (task["name"], row["embeddings"], row.get("group"))))
            found = _numbers(row["values"], f"{measured}/")
            of.setdefault(row["sae"] or "embeddings", {}).update(found)
    measures = list(dict.fromkeys(name for numbers in of.values() for name in numbers))
    columns = {name: [_finite(numbers.get(measure)) for measure in measures] for name, numbers in of.items()}
    return {"measure": measures, **columns}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _chosen(results: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield those that are there: of three modalities, or of own dictionaries, not all are defined."""
    flat = dict(_numbers(results))
    for name, path in paths.items():
        if (value := flat.get(path.replace(".", "/"))) is not None:
            yield name, value


def _numbers(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
