import numpy as np
import pyarrow as pa
import pytest

from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.figures.sharedness_figure import sharedness_of_atoms
from isoenergy.report.sharedness import SharednessCounts

NAN = float("nan")


def atoms(rows: list[tuple]) -> pa.Table:
    names = ("class", "energy", "p_value", "q_value", "sharedness_low", "sharedness", "sharedness_high")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    arrays = {
        name: pa.array(np.array(values, np.float64), from_pandas=True)
        if name != "class"
        else pa.array(values, pa.string())
        for name, values in columns.items()
    }
    return pa.table({"atom": np.arange(len(rows)), **arrays})


ROWS = [
    ("bimodal", 4.0, 0.9, 0.9, 0.8, 0.9, 1.0),  # evenly shared, as far as is known
    ("bimodal", 2.0, 1e-9, 1e-8, 0.3, 0.4, 0.5),  # partly shared
    ("image_only", 1.0, 1e-9, 1e-8, 0.051, 0.0515, 0.052),  # partly shared, and past the cut of μ
    ("image_only", 1.0, 1e-9, 1e-8, 0.04, 0.05, 0.06),
    ("text_only", 1.0, 1e-9, 1e-8, 0.0, 0.0, 0.01),
    ("bimodal", 1.0, NAN, NAN, 0.3, 0.4, 0.5),  # too rare to be tested
    ("dead", 0.0, NAN, NAN, NAN, NAN, NAN),
]


def test_atoms_in_between_are_those_whose_whole_interval_is() -> None:
    assert SharednessCounts.of(atoms(ROWS)) == SharednessCounts(
        live=6, tested=5, unequal=4, between=2, between_energy=0.3, between_cut=1
    )


@pytest.mark.parametrize("rows", [[], ROWS[-1:], ROWS[-2:]], ids=["none", "dead", "rare"])
def test_a_dictionary_without_tested_atoms_is_counted_and_drawn(rows: list[tuple]) -> None:
    counts = SharednessCounts.of(atoms(rows))
    assert (counts.tested, counts.unequal, counts.between, counts.between_energy) == (0, 0, 0, 0.0)
    figure = sharedness_of_atoms(atoms(rows), "none")
    drawn, counted = figure.axes
    assert [sum(len(group.get_segments()) for group in drawn.collections), drawn.get_legend()] == [0, None]
    assert {patch.get_width() for patch in counted.patches if patch.get_height() < 0.1} == {0}
    assert b"</svg>" in as_bytes(figure, "svg")


def test_each_tested_atom_is_drawn_once_and_rejection_is_seen() -> None:
    axes, bars = sharedness_of_atoms(atoms(ROWS), "one").axes
    shown = {group.get_label(): len(group.get_offsets()) for group in axes.collections if group.get_label()[0] != "_"}
    assert shown == {
        "bimodal, equal energy not rejected (1)": 1,
        "bimodal, equal energy rejected (1)": 1,
        "images only, equal energy rejected (2)": 2,
        "captions only, equal energy rejected (1)": 1,
    }
    assert sum(patch.get_width() for patch in bars.patches if patch.get_height() < 0.1) == 5
