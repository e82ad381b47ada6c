import numpy as np

from isoenergy.report.figures.gap_figure import gaps_of_variants
from isoenergy.report.figures.rival_figures import gap_against_recall, recall_along_sweeps
from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.page.sae_drawings import rival_drawing, sweeps_drawing
from isoenergy.report.tables.rivals import VARIANTS
from tests.report.evaluations import NAN, ORIGINAL, REBUILT, interval, original, sae


def test_every_variant_is_a_point_but_the_unimodal_control() -> None:
    axes = gap_against_recall(original(), sae(), "SAE").axes[0]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(points) == len(ORIGINAL) + len(REBUILT) - 1


def test_what_leaves_nothing_is_no_point_and_the_caption_says_so() -> None:
    one, whole = sae(gap={"bimodal": 0.0}), original()
    one["results"]["pairs"] = 10
    full = rival_drawing(whole, one, "SAE").caption
    one["results"]["retrieval"]["bimodal"]["zero_rows"] = {"image": 10, "text": 10}
    figure = gap_against_recall(whole, one, "SAE")
    points = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert len(points) == len(ORIGINAL) + len(REBUILT) - 2
    assert min(line.get_xdata()[0] for line in points) > 0
    title = VARIANTS["bimodal"][0]
    assert not any(title in text.get_text() for text in [*figure.axes[0].texts, *figure.legends[0].get_texts()])
    said = f" Without a point, since most rows are left with nothing: {title}."
    for drawing in (rival_drawing(whole, one, "SAE"), sweeps_drawing(whole, one, "SAE")):
        assert drawing.caption.endswith(said)
    assert "most rows" not in full
    marks = gaps_of_variants(whole, [one], {one["name"]: "SAE"}).axes[0].lines
    assert len(marks[-1].get_xdata()) != 2  # no line leads from all atoms to none


def test_the_winner_centring_and_the_removal_are_named() -> None:
    axes = gap_against_recall(original(), sae({"less_unimodal": 0.9}), "SAE", narrow=True).axes[0]
    titles = {name: title for name, (title, _) in VARIANTS.items()}
    winner = f"{titles['less_unimodal']} (the winner)"
    named = [titles["original"], titles["reconstructed"], titles["bimodal"], *2 * [titles["centred"]], winner]
    assert sorted(text.get_text() for text in axes.texts) == sorted(named)


def test_a_sweep_is_a_curve_from_where_nothing_is_done() -> None:
    one, whole = sae({"reconstructed": 0.3}, {"reconstructed": 0.7}), original()
    gaps, recalls = {"0.5": interval(0.4), "1": interval(0.1)}, {"0.5": interval(0.5, 0.02), "1": interval(0.6)}
    one["results"]["geometry"]["sweeps"] = {"midpoint_shift": gaps}
    one["results"]["retrieval"]["sweeps"] = {"midpoint_shift": recalls}
    left = recall_along_sweeps(whole, one, "SAE").axes[0]
    curve = next(line for line in left.lines if line.get_label() == "rebuilt by the SAE")
    assert curve.get_xydata().tolist() == [[0.7, 0.3], [0.4, 0.5], [0.1, 0.6]]
    assert [text.get_text() for text in left.texts] == ["0", "0", "0.5", "1"]
    bars = [np.round(bar, 6).tolist() for drawn in left.collections for bar in drawn.get_segments()]
    assert [[0.39, 0.5], [0.41, 0.5]] in bars
    assert [[0.4, 0.48], [0.4, 0.52]] in bars


def test_what_was_not_measured_is_not_drawn() -> None:
    one, whole = sae(), original()
    for part in (one["results"], whole):
        for name, measured in part["retrieval"].items():
            if name != "sweeps":
                measured["in_batches_r1"] = measured["r1"] = dict.fromkeys(("value", "low", "high"), NAN)
    for figure, panels in ((recall_along_sweeps(whole, one, "SAE"), 2), (gap_against_recall(whole, one, "SAE"), 1)):
        for axes in figure.axes[:panels]:
            heights = np.concatenate([line.get_ydata(orig=False) for line in axes.lines])
            assert len(heights) >= 5
            assert not np.isfinite(heights).any()
        assert b"</svg>" in as_bytes(figure, "svg")
