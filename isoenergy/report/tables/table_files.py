"""The report's tables as files, CSV and Parquet: numbers with their bounds, for whoever goes on with them."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from isoenergy.evaluation.ways import CONTROLS, HEADLINE
from isoenergy.report.intervals import Interval
from isoenergy.report.saes import Sae, is_null, trainings
from isoenergy.report.tables.paper_table import COLUMNS
from isoenergy.report.tables.published import published
from isoenergy.report.tables.rivals import MEASURES, VARIANTS
from isoenergy.report.tables.sae_tables import GROUPS, reading

Row = dict[str, Any]

_RETRIEVALS = ("r1", "r5", "r10", "in_batches_r1", "change_r1", "change_r10", "change_in_batches_r1")
_OF_TRAININGS = (
    "r2",
    "r2_centred",
    "bimodal_energy_share",
    "geometry.p_acc",
    "agreement.bimodal_energy_share",
    "agreement.measured_pairs",
    *(f"geometry.{name}.{measure}" for name in HEADLINE for measure in ("difference_in_means", "gap_closed_interval")),
    *(f"retrieval.{name}.{measure}" for name in HEADLINE for measure in ("r1", "r10", "kept_r10")),
)
"""What all trainings are measured by; see `isoenergy.report.tables.sae_tables.reading`."""
_DIRECTIONS = tuple(f"{way}_r{rank}" for way in ("image_to_text", "text_to_image") for rank in (1, 5, 10))


def report_tables(
    summary: Mapping[str, Any], atoms: Mapping[str, pa.Table], curves: Mapping[str, pa.Table]
) -> dict[str, pa.Table]:
    """Return the tables of an evaluation by name.

    atoms: a table of the atoms of each SAE, by the SAE's name. curves: likewise, its bridges by ε.
    """
    saes = summary["saes"]
    found = {
        "paper": _paper(saes, summary["store"]["encoder"]),
        "gap-and-retrieval": as_table(_variants(summary["original"], saes, _gap_and_retrieval)),
        "rivals": as_table(_variants(summary["original"], saes, _rivals)),
        "sweeps": as_table(_sweeps(summary["original"], saes)),
        "measures": as_table(_measures(saes)),
        "trainings": as_table(_trainings(saes)),
        "stability": as_table(summary["stability"]),
        "bridge-curves": pa.concat_tables(
            [table.add_column(0, "sae", [[name] * len(table)]) for name, table in curves.items()]
        ),
        **{f"atoms-{name}": table for name, table in atoms.items()},
    }
    if tasks := summary.get("tasks"):
        found["tasks"] = as_table(_tasks(tasks))
    return {name: table for name, table in found.items() if table.num_columns}


def as_files(tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """Return each table as `NAME.csv` and `NAME.parquet`."""
    files: dict[str, bytes] = {}
    for name, table in tables.items():
        text, columns = io.BytesIO(), io.BytesIO()
        pyarrow.csv.write_csv(table, text)
        pq.write_table(table, columns, compression="zstd")
        files |= {f"{name}.csv": text.getvalue(), f"{name}.parquet": columns.getvalue()}
    return files


def as_table(rows: Iterable[Row]) -> pa.Table:
    """Return rows as a table; what a row lacks, and what is not a number, is null."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows], from_pandas=True) for name in names})


def bounded(name: str, interval: Interval) -> Row:
    """Return a number as `name`, and the bounds of its interval as `name_low` and `name_high`."""
    return _bounded(name, interval["value"], interval)


def _bounded(name: str, value: float | None, interval: Interval | None) -> Row:
    low, high = (interval[end] if interval else None for end in ("low", "high"))
    return {name: None if value is None else float(value), f"{name}_low": low, f"{name}_high": high}


def _paper(saes: Sequence[Sae], encoder: str) -> pa.Table:
    rows: list[Row] = []
    for sae in saes:
        row: Row = {"name": sae["name"], "kind": "shuffled" if is_null(sae) else "trained"}
        row |= {name: sae["config"][name] for name in ("beta", "atoms", "k")}
        for column in COLUMNS:
            row |= _bounded(column.name, *reading(sae["results"], column.measure.path))
        rows.append(row)
    for name, values in published(encoder).items():
        rows.append({"name": name, "kind": "published", **values})
    return as_table(rows)


def _parts(original: Mapping[str, Any], saes: Sequence[Sae]) -> Iterable[tuple[str | None, Mapping[str, Any]]]:
    """Yield what was measured of the embeddings themselves, and of what each SAE rebuilds, by the SAE's name."""
    yield None, original
    for sae in saes:
        yield sae["name"], sae["results"]


def _variants(
    original: Mapping[str, Any], saes: Sequence[Sae], numbers: Callable[[Mapping[str, Any], str], Row]
) -> Iterable[Row]:
    """Yield a row a variant of the embeddings, and of what each SAE rebuilds."""
    for name, part in _parts(original, saes):
        for variant in (variant for variant in VARIANTS if variant in part["retrieval"]):
            yield {"sae": name, "embeddings": variant, **numbers(part, variant)}


def _gap_and_retrieval(part: Mapping[str, Any], variant: str) -> Row:
    row: Row = {}
    gap, retrieval = part["geometry"][variant], part["retrieval"][variant]
    for name in ("difference_in_means", "optimal_transport", "relative_modality_gap"):
        row |= bounded(name, gap[f"{name}_interval"])
    for name in _RETRIEVALS:
        row |= bounded(name, retrieval[name])
    return row | {name: retrieval[name] for name in _DIRECTIONS}


def _rivals(part: Mapping[str, Any], variant: str) -> Row:
    row: Row = {"title": VARIANTS[variant][0], "control": variant in CONTROLS}
    row |= {f"zero_{modality}s": count for modality, count in part["retrieval"][variant].get("zero_rows", {}).items()}
    for measure in MEASURES:
        row |= bounded(measure.name, measure.of(part, variant))
    return row


def _sweeps(original: Mapping[str, Any], saes: Sequence[Sae]) -> Iterable[Row]:
    """Yield a row a step of the embeddings' sweeps, and of those of what each SAE rebuilds."""
    for name, part in _parts(original, saes):
        for sweep, gaps in part["geometry"]["sweeps"].items():
            for step, gap in gaps.items():
                recall = part["retrieval"]["sweeps"][sweep][step]
                row = {"sae": name, "sweep": sweep, "step": float(step)}
                row |= bounded("difference_in_means", gap)
                yield row | bounded("in_batches_r1", recall)


def _measures(saes: Sequence[Sae]) -> Iterable[Row]:
    for sae in saes:
        for heading, measures in GROUPS.items():
            for measure in measures:
                row = {"sae": sae["name"], "group": heading, "measure": measure.path, "control": measure.control}
                yield row | _bounded("value", *reading(sae["results"], measure.path))


def _trainings(saes: Sequence[Sae]) -> Iterable[Row]:
    """Yield a row a training and measure of SAEs that were trained from several seeds."""
    for sae in (sae for sae in saes if sae.get("repeats")):
        for name, results in zip(
            [sae["name"], *(repeat["name"] for repeat in sae["repeats"])], trainings(sae), strict=True
        ):
            for path in _OF_TRAININGS:
                row = {"sae": sae["name"], "training": name, "measure": path}
                yield row | _bounded("value", *reading(results, path))


def _tasks(tasks: Sequence[Mapping[str, Any]]) -> Iterable[Row]:
    for task in tasks:
        for row in task["rows"]:
            for measure, interval in row["values"].items():
                what = {"task": task["name"], **{name: row.get(name) for name in ("sae", "embeddings", "group")}}
                yield what | {"measure": measure} | bounded("value", interval)
