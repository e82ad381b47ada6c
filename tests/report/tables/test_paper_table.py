import pytest

from isoenergy.encoders.loading import ALIASES
from isoenergy.report.tables.paper_table import COLUMNS, paper_table
from isoenergy.report.tables.published import published
from isoenergy.report.tables.sae_tables import Cell
from tests.report.evaluations import measured


def cells(encoder: str) -> dict[str, dict[str, Cell]]:
    one, null = measured(), {**measured(), "name": "null"}
    null["config"] = {**null["config"], "null": True}
    rows = paper_table([one, null], {"beta-0.001": "SAE-A", "null": "null of SAE-A"}, encoder)
    return {row.label: dict(zip((column.name for column in COLUMNS), row.cells, strict=True)) for row in rows}


def test_a_row_an_sae_and_the_null_models_with_intervals_where_there_are_any() -> None:
    rows = cells("bundled")
    assert list(rows) == ["SAE-A", "null of SAE-A"]
    assert rows["SAE-A"]["mse"] == Cell("0.250", "[0.240, 0.260]")
    assert rows["SAE-A"]["rho"] == Cell("2.0", "[1.0, 3.0]")
    assert rows["SAE-A"]["delta_r1"] == Cell("+0.000", "[−0.010, +0.010]")
    assert rows["SAE-A"]["dead_atoms"] == Cell("3")
    assert rows["SAE-A"]["fda"] == Cell("–")


@pytest.mark.parametrize("encoder", ["clip", ALIASES["clip"]])
def test_the_paper_s_encoders_have_its_rows_beside_them(encoder: str) -> None:
    rows = cells(encoder)
    assert list(rows) == ["SAE-A", "null of SAE-A", "the paper’s SAE", "the paper’s SAE-A"]
    assert rows["the paper’s SAE-A"]["rho"] == Cell("4.23")
    assert rows["the paper’s SAE"]["delta_r1"] == Cell("−0.224")
    assert rows["the paper’s SAE"]["dead_atoms"] == Cell("")


def test_every_encoder_of_the_paper_has_both_rows_and_no_other_has_any() -> None:
    for name in set(ALIASES) - {"bundled"}:
        assert set(published(name)) == {"SAE", "SAE-A"}
        assert set(published(name)["SAE"]) <= {column.name for column in COLUMNS}
    assert published("bundled") == {}
    assert published("hf:somebody/else") == {}
