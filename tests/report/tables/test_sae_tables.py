from isoenergy.report.tables.sae_tables import Cell, side_by_side, stability
from tests.report.evaluations import NAN, interval

RESULTS = {
    "mse": 0.125,
    "r2_centred": 0.5,
    "dead_atoms": 1234,
    "intervals": {"mse": interval(0.125)},
    "bridges": {
        "rho": 12.5,
        "rho_interval": interval(12.5, 2),
        "rho_shuffled_classes": interval(3, 1),
        "fda": 2.0,
        "fda_interval": {"value": 2.0, "low": NAN, "high": NAN},
    },
    "dictionary": {"live_atoms": 4096},
    "modality_bias": {"text": {"atoms": 0, "mean_cosine": NAN}},
}


def cell(results: dict, heading: str, name: str) -> Cell:
    (group,) = [group for group in side_by_side([{"results": results}]) if group.heading == heading]
    return next(row.cells[0] for row in group.rows if row.name == name)


BRIDGES = "Do bimodal atoms connect the modalities?"


def test_a_number_has_its_interval_wherever_that_lies() -> None:
    assert cell(RESULTS, "Reconstruction and sparsity", "MSE") == Cell("0.125", "[0.115, 0.135]")
    assert cell(RESULTS, BRIDGES, "ρ") == Cell("12.5", "[10.5, 14.5]")
    assert cell(RESULTS, "Reconstruction and sparsity", "R², centred") == Cell("0.5000")
    assert cell(RESULTS, "Reconstruction and sparsity", "dead atoms") == Cell("1,234")


def test_an_interval_that_was_too_dear_says_for_how_many_atoms() -> None:
    assert cell(RESULTS, BRIDGES, "FDA") == Cell("2.00", "no interval: 4,096 atoms")


def test_what_has_no_value_has_no_interval_either() -> None:
    infinite = {
        **RESULTS["bridges"],
        "rho": float("inf"),
        "rho_interval": {"value": float("inf"), "low": NAN, "high": NAN},
    }
    assert cell({**RESULTS, "bridges": infinite}, BRIDGES, "ρ") == Cell("∞")
    assert cell(RESULTS, "The modality in the atoms", "text-bias atoms") == Cell("0")


def test_what_was_not_measured_is_a_dash() -> None:
    assert cell(RESULTS, "The dictionary", "coherence") == Cell("–")


def test_a_control_stands_below_what_it_controls() -> None:
    for group in side_by_side([{"results": RESULTS}]):
        assert not group.rows[0].control
    rows = next(group.rows for group in side_by_side([{"results": RESULTS}]) if group.heading == BRIDGES)
    assert [(row.name, row.control) for row in rows[:3]] == [
        ("ρ", False),
        ("pairs shuffled", True),
        ("classes shuffled", True),
    ]
    assert rows[2].cells == [Cell("3.0", "[2.0, 4.0]")]


def test_stability_has_a_column_a_pair_of_saes() -> None:
    rows = stability([{"matched_cosine": 0.5}, {"matched_cosine": 0.25}]).rows
    assert [cell.text for cell in rows[0].cells] == ["0.500", "0.250"]
    assert stability([]).rows[0].cells == []


def test_a_number_has_its_spread_over_trainings_where_all_have_it() -> None:
    others = [{"mse": 0.25, "dead_atoms": 1000, "r2_centred": 0.6}, {"mse": 0.5, "dead_atoms": 2000}]
    one = {"results": RESULTS, "repeats": [{"name": str(n), "results": each} for n, each in enumerate(others)]}
    (group,) = [group for group in side_by_side([one]) if group.heading == "Reconstruction and sparsity"]
    cells = {row.name: row.cells[0] for row in group.rows}
    assert cells["MSE"] == Cell("0.125", "[0.115, 0.135] {0.250; 0.125 to 0.500}")
    assert cells["dead atoms"] == Cell("1,234", "{1,234; 1,000 to 2,000}")
    assert cells["R², centred"] == Cell("0.5000")
