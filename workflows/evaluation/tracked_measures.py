"""What MLflow is told of an evaluation: the few numbers that people compare runs by, and all others in one table.

A run with thousands of metrics is a page that a browser draws for seconds and nobody reads.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

MEASURES_FILE = "measures.csv"

_OF_AN_SAE = {
    "r2": "r2",
    "r2_centred": "r2_centred",
    "bimodal_energy": "bimodal_energy_share",
    "agreement": "agreement.bimodal_energy_share.value",
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


def measures_table(summary: Mapping[str, Any]) -> str:
    """Return every number of an evaluation as CSV: what it is of, its name, the number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("of", "measure", "value"))
    of = {"embeddings": summary.get("original") or summary["vectors"]}
    for sae in summary["saes"]:
        of |= {each["name"]: each["results"] for each in (sae, *sae.get("repeats", ()))}
    for name, results in of.items():
        writer.writerows((name, *number) for number in _numbers(results))
    for task in summary["tasks"]:
        for row in task["rows"]:
            measured = "/".join(filter(None, (row["sae"] or "embeddings", row["embeddings"], row.get("group"))))
            writer.writerows((measured, f"{task['name']}/{name}", value) for name, value in _numbers(row["values"]))
    return text.getvalue()


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
