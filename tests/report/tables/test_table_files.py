import io

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from isoenergy.report.tables.table_files import as_files, report_tables
from tests.report.evaluations import NAN, interval, measured, original

DIRECTIONS = {f"{way}_r{rank}": 0.1 for way in ("image_to_text", "text_to_image") for rank in (1, 5, 10)}


def summary(**more: object) -> dict:
    """An evaluation of one SAE."""
    both = {"original": original({"original": 0.7}), "saes": [measured()], "stability": []}
    for kind in (both["original"], both["saes"][0]["results"]):
        for name, numbers in kind["retrieval"].items():
            if name != "sweeps":
                numbers |= DIRECTIONS
    return {**both, "store": {"encoder": "clip"}, **more}


def tables(**more: object) -> dict[str, pa.Table]:
    atoms = {"beta-0.001": pa.table({"atom": [0, 1], "energy": [0.5, 0.25]})}
    curves = {"beta-0.001": pa.table({"of": ["sigma"], "epsilon": [0.05], "value": [1.0]})}
    return report_tables(summary(**more), atoms, curves)


def test_the_paper_s_table_has_numbers_bounds_and_the_published_rows() -> None:
    rows = tables()["paper"].to_pylist()
    assert [(row["name"], row["kind"]) for row in rows] == [
        ("beta-0.001", "trained"),
        ("SAE", "published"),
        ("SAE-A", "published"),
    ]
    assert (rows[0]["mse"], rows[0]["mse_low"], rows[0]["mse_high"]) == (0.25, 0.24, 0.26)
    assert rows[0]["fda"] is None
    assert (rows[2]["rho"], rows[2]["rho_low"]) == (4.232, None)


def test_every_variant_has_its_gap_and_its_retrieval() -> None:
    found = tables()
    rows = {(row["sae"], row["embeddings"]): row for row in found["gap-and-retrieval"].to_pylist()}
    assert rows[None, "original"]["r1"] == 0.7
    assert rows["beta-0.001", "bimodal"]["difference_in_means_low"] == pytest.approx(0.39)
    assert len(rows) == len(found["rivals"])
    controls = {row["embeddings"] for row in found["rivals"].to_pylist() if row["control"]}
    assert controls == {"unimodal", "matched_removal"}


def test_sweeps_are_rows_by_step_with_bounds() -> None:
    assert "sweeps" not in tables()
    one = measured()
    one["results"]["geometry"]["sweeps"] = {"midpoint_shift": {"0.5": interval(0.4)}}
    one["results"]["retrieval"] |= {"sweeps": {"midpoint_shift": {"0.5": interval(0.5, 0.25)}}}
    for name, numbers in one["results"]["retrieval"].items():
        if name != "sweeps":
            numbers |= DIRECTIONS
    (row,) = tables(saes=[one])["sweeps"].to_pylist()
    assert (row["sae"], row["sweep"], row["step"]) == ("beta-0.001", "midpoint_shift", 0.5)
    assert (row["in_batches_r1_low"], row["in_batches_r1"], row["in_batches_r1_high"]) == (0.25, 0.5, 0.75)


def test_tasks_are_a_table_if_there_are_any() -> None:
    assert "tasks" not in tables()
    row = {"sae": None, "embeddings": "original", "values": {"R@1": interval(0.5), "R@10": interval(NAN)}}
    found = tables(tasks=[{"name": "composed", "rows": [row]}])["tasks"].to_pylist()
    assert [(line["task"], line["measure"], line["value"], line["group"]) for line in found] == [
        ("composed", "R@1", 0.5, None),
        ("composed", "R@10", None, None),
    ]


def test_both_files_of_a_table_hold_what_it_holds() -> None:
    wanted = tables()
    files = as_files(wanted)
    assert {name.rpartition(".")[0] for name in files} == set(wanted)
    assert "atoms-beta-0.001.csv" in files
    for name, table in wanted.items():
        assert pq.read_table(io.BytesIO(files[f"{name}.parquet"])).equals(table)
        read = pyarrow.csv.read_csv(io.BytesIO(files[f"{name}.csv"]))
        assert read.column_names == table.column_names
        assert len(read) == len(table)


def test_what_has_no_rows_is_no_file() -> None:
    assert "stability" not in tables()
    assert "stability" in tables(stability=[{"first": "a", "second": "b", "transport": 0.25}])
