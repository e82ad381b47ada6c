"""What is drawn is what was measured: points, bars and bands of planted numbers."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from isoenergy.report.figures.atom_map_figure import atom_map
from isoenergy.report.figures.beta_figure import has_betas, measures_by_beta
from isoenergy.report.figures.bridge_figure import bridge_mass_by_cut
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.figures.energy_figures import energy_densities, energy_scatter, modality_score_histogram
from isoenergy.report.figures.gap_figure import SHOWN, gaps_of_variants
from isoenergy.report.figures.projection_figure import projected_pairs
from isoenergy.report.figures.rival_figures import gap_against_recall, recall_along_sweeps
from isoenergy.report.page.sae_drawings import projection_drawing
from tests.report.evaluations import NAN, interval, original, sae, seeds

PNG = b"\x89PNG"


def column(values: list[float]) -> pa.Array:
    return pa.array(np.array(values, np.float64), from_pandas=True)


def banded(**places: object) -> pa.Table:
    """A curve at 0.5 with a band of 0.1, but for its last point."""
    rows = len(next(iter(places.values())))  # type: ignore[arg-type]
    ends = {"value": [0.5] * rows, "low": [0.4] * (rows - 1) + [NAN], "high": [0.6] * (rows - 1) + [NAN]}
    return pa.table({**places, **{name: column(values) for name, values in ends.items()}})


def atoms(live: bool = True) -> pa.Table:
    """A bimodal atom that is tested and unequal, an image-only one that is too rare, and a dead one."""
    alive = float(live)
    return pa.table(
        {
            "class": ["bimodal", "image_only", "dead"],
            "energy": [0.2 * alive, 0.1 * alive, 0.0],
            "image_energy": [0.3 * alive, 0.2 * alive, 0.0],
            "text_energy": [0.1 * alive, 0.0, 0.0],
            "frequency": [0.5, 0.01, 0.0],
            "p_value": column([1e-9, NAN, NAN]),
            "q_value": column([1e-8, NAN, NAN]),
            "sharedness_low": column([0.25, 0.0, NAN]),
            "sharedness_high": column([0.5, 0.9, NAN]),
        }
    )


def test_a_tested_atom_has_a_line_along_its_weaker_side_and_is_hollow_if_it_is_unequal() -> None:
    (axes,) = energy_scatter(atoms(), "one").axes
    segments = [line for group in axes.collections if hasattr(group, "get_segments") for line in group.get_segments()]
    (line,) = (line for line in segments if len(line))
    np.testing.assert_allclose(line, [[0.3, 0.075], [0.3, 0.15]])
    points = [group for group in axes.collections if len(group.get_offsets()) and not hasattr(group, "get_segments")]
    faces = {tuple(np.round(group.get_offsets()[0], 3)): len(group.get_facecolor()) for group in points}
    assert faces[(0.3, 0.1)] == 0
    assert sum(faces.values()) == 1  # the rare atom is filled


def test_a_dictionary_that_never_fires_is_drawn_all_the_same() -> None:
    (axes,) = energy_scatter(atoms(live=False), "none").axes
    assert sum(len(group.get_offsets()) for group in axes.collections if isinstance(group, PathCollection)) == 0
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == ["bimodal (0)", "images only (0)", "captions only (0)"]
    places = pa.table({n: column([]) for n in ("energy", "modality_score", "pca_x", "pca_y", "umap_x", "umap_y")})
    edges = pa.table({name: pa.array([], pa.int64()) for name in ("image_atom", "text_atom", "weight")})
    figure = atom_map(places.append_column("atom", pa.array([], pa.int64())), edges, "none")
    assert "too few atoms fire" in [text.get_text() for text in figure.axes[1].texts]


def test_the_histogram_has_its_bars_and_their_intervals() -> None:
    low = np.linspace(0, 0.9, 10)
    (axes,) = modality_score_histogram(banded(low_score=low, high_score=low + 0.1), "one").axes
    assert [patch.get_height() for patch in axes.patches] == [0.5] * 10
    (errors,) = axes.collections
    np.testing.assert_allclose(errors.get_segments()[0][:, 1], [0.4, 0.6])


def test_densities_and_bridges_have_bands() -> None:
    rows = [(c, m, x) for c in ("bimodal", "image_only", "text_only") for m in ("image", "text") for x in (-3.0, -2.0)]
    names = ("class", "modality", "log10_energy")
    table = banded(**{name: [row[place] for row in rows] for place, name in enumerate(names)})
    for axes in energy_densities(table, "one").axes:
        assert len(axes.lines) == len(axes.collections) == 3
        np.testing.assert_allclose(axes.lines[0].get_xdata(), [1e-3, 1e-2])
    curves = banded(of=["sigma", "sigma", "gamma", "gamma", "energy", "energy"], epsilon=[0.01, 0.1] * 3)
    (axes,) = bridge_mass_by_cut(curves, "one").axes
    assert len(axes.collections) == 3
    assert "the energy itself" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_map_has_its_atoms_by_energy_and_joins_those_that_bridge() -> None:
    places = pa.table(
        {
            "atom": [3, 5, 8],
            "energy": [0.1, 0.4, 0.2],
            "modality_score": [0.0, 0.5, 1.0],
            **{f"{kind}_{axis}": [0.0, 1.0, 2.0] for kind in ("pca", "umap") for axis in "xy"},
        }
    )
    edges = pa.table({"image_atom": [8, 5], "text_atom": [3, 8], "weight": [-0.5, 0.25]})
    for axes in atom_map(places, edges, "one").axes[:2]:
        lines, points = axes.collections
        np.testing.assert_allclose(lines.get_segments(), [[[2, 2], [0, 0]], [[1, 1], [2, 2]]])
        assert lines.get_linewidths()[0] > lines.get_linewidths()[1]
        np.testing.assert_allclose(points.get_array(), [0.5, 1.0, 0.0])  # the strongest below the others
        np.testing.assert_allclose(points.get_sizes() / points.get_sizes()[0], [1, 0.5, 0.25])


def marks(axes: Axes) -> Mapping[str, np.ndarray]:
    return {bars.get_label(): np.column_stack(bars.lines[0].get_data()) for bars in axes.containers}


def test_gaps_are_where_they_were_measured_and_a_line_leads_to_the_bimodal_atoms() -> None:
    one = sae({"reconstructed": 0.5, "bimodal": 0.45}, {"reconstructed": 0.6, "bimodal": 0.2})
    figure = gaps_of_variants(original({"original": 0.55}, {"original": 0.7}), [one], {"beta-0.001": "SAE-A"})
    for axes, values in zip(figure.axes, ((0.6, 0.2, 0.7), (0.5, 0.45, 0.55)), strict=True):
        found = marks(axes)
        assert set(found) == {"the embeddings themselves", "SAE-A"}
        by_row = {round(y): x for x, y in found["SAE-A"]}
        assert by_row[SHOWN.index("reconstructed")] == values[0]
        assert by_row[SHOWN.index("bimodal")] == values[1]
        assert found["the embeddings themselves"][0][0] == values[2]
        (line,) = (line for line in axes.lines if list(line.get_xdata()) == list(values[:2]))
        assert np.round(line.get_ydata()).tolist() == [SHOWN.index("reconstructed"), SHOWN.index("bimodal")]
    assert Drawing.of("gaps", "", gaps_of_variants(original(), [], {})).files["png"].startswith(PNG)


def test_the_sweep_has_a_point_an_sae_and_the_null_models_apart() -> None:
    saes = [sae(share=0.2, beta=0.0), sae(share=0.5), sae(share=0.7), sae(share=0.3, null=True)]
    for one in saes:
        one["results"]["intervals"]["r2"] = interval(NAN)
        for numbers in (one["results"]["retrieval"][name] for name in ("bimodal", "reconstructed")):
            numbers["change_in_batches_r1"] = interval(-0.1)
    assert has_betas(saes)
    assert not has_betas(saes[1:])
    unknown, share, *_ = measures_by_beta(saes).axes
    assert not unknown.containers
    found = marks(share)
    np.testing.assert_allclose(found["true pairs"], [[0, 0.2], [0.001, 0.5], [0.001, 0.7]])
    np.testing.assert_allclose(found["null: shuffled pairs"], [[0.001, 0.3]])
    (means,) = (line.get_ydata() for line in share.lines if list(line.get_xdata()) == [0, 0.001])
    np.testing.assert_allclose(means, [0.2, 0.6])


PROJECTED_POINTS = pa.table(
    {
        "embeddings": ["reconstructed", "reconstructed", "bimodal", "bimodal"],
        "modality": ["image", "text"] * 2,
        "x": [0.3, -0.3, 0.1, -0.1],
        "y": [0.0] * 4,
    }
)


@pytest.mark.parametrize("stacked", [False, True])
def test_the_projection_tells_the_gap_of_each_cloud(stacked: bool) -> None:
    results = sae(gap={"reconstructed": 0.6, "bimodal": 0.2})["results"]
    panels = projected_pairs(PROJECTED_POINTS, results, "one", stacked).axes
    titles = [axes.get_title() for axes in panels]
    assert titles == ["all atoms: gap 0.600 [0.590, 0.610]", "unimodal atoms removed: gap 0.200 [0.190, 0.210]"]
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["images", "captions"]


def test_the_projection_of_one_of_several_trainings_says_so_and_what_the_verdict_tells() -> None:
    gaps = [{"reconstructed": before, "bimodal": after} for before, after in ((0.6, 0.05), (0.61, 0.03), (0.58, 0.02))]
    first, *others = ({**sae(gap=gap), "projection": "steps/projection"} for gap in gaps)
    one, several = (
        projection_drawing(each, "SAE-A", lambda _: PROJECTED_POINTS) for each in (first, seeds(first, *others))
    )
    assert one.figure.get_suptitle() == "SAE-A"
    for figure in (several.figure, several.narrow):
        assert figure is not None
        assert figure.get_suptitle() == (
            "SAE-A, the first of 3 trainings\n(medians of all, as in the verdict: gap 0.600 → 0.030)"
        )
        assert "gap 0.050 [" in figure.axes[1].get_title()


def test_a_drawing_is_the_same_bytes_every_time() -> None:
    one, other = (Drawing.of("energy", "", energy_scatter(atoms(), "one")) for _ in range(2))
    assert one.files == other.files
    assert one.url.startswith("data:image/svg+xml;base64,")


def test_no_words_are_cut_at_the_edges_of_a_phones_figure() -> None:
    one, whole, label = sae(), original(), "SAE-A (β = 0.001)"
    drawn = [gaps_of_variants(whole, [one], {one["name"]: label}, narrow=True)]
    drawn += [draw(whole, one, label, narrow=True) for draw in (gap_against_recall, recall_along_sweeps)]
    for figure in drawn:
        figure.draw_without_rendering()
        ticks = [text for axes in figure.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        words = [text for text in figure.findobj(Text) if text.get_text() and text not in ticks]
        boxes = {text.get_text(): text.get_window_extent() for text in words}
        assert {text for text, box in boxes.items() if box.x0 < 0 or box.x1 > figure.bbox.width} == set()
