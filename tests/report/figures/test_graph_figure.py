import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.transforms import Affine2D, Bbox

from isoenergy.report.figures.figures import as_bytes
from isoenergy.report.figures.graph_figure import draw_graph

MEASURES = ("geometry", "retrieval", "exemplars", "projection", "interventions", "bootstrap", "gap", "bridges")
SAES = ("beta-0-1a2b3c", "beta-0.0005-9f8e7d", "a-rather-long-name-of-a-folder-aabbcc")


def node(name: str, inputs: Sequence[str] = (), parts: int = 1, state: str = "ran", seconds: float = 1.0) -> dict:
    return {"name": name, "inputs": list(inputs), "parts": parts, "state": state, "seconds": seconds}


def steps_of(sae: str, state: str) -> list[dict[str, Any]]:
    codes, statistics = f"{sae}/codes", f"{sae}/statistics"
    beside = {"retrieval": ["original"], "gap": ["original"]}
    measured = [node(f"{sae}/{name}", [codes, statistics, *beside.get(name, [])], 1, state, 70) for name in MEASURES]
    first = [node(codes, [], 1000, state, 8123.0), node(statistics, [codes], 1, state, 31.25)]
    return [*first, *measured, node(f"{sae}/verdict", [step["name"] for step in measured], 1, state, 0.001)]


def evaluation() -> list[dict[str, Any]]:
    shared = [node("sample", state="cached"), node("original", ["sample"], 4, "cached")]
    ends = node("comparison", [f"{sae}/verdict" for sae in SAES])
    return [*shared, *(step for n, sae in enumerate(SAES) for step in steps_of(sae, ("cached", "ran")[n % 2])), ends]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def test_every_step_is_there_with_its_parts_and_its_time() -> None:
    drawn = texts(draw_graph(evaluation()))
    for sae in SAES:
        assert drawn.count(sae) == 1
    for name in ("codes", "statistics", "verdict", *MEASURES):
        assert drawn.count(name) == len(SAES)
    assert drawn.count("×1,000 · 2 h 15 min") == len(SAES)
    assert drawn.count("1 min 10 s") == len(SAES) * len(MEASURES)
    assert drawn.count("< 0.1 s") == len(SAES)
    assert {"shared", "sample", "original", "comparison", "verdict of 3 SAEs"} <= set(drawn)
    assert drawn.count("original") == 1 + len(SAES)


def test_the_colour_says_what_ran() -> None:
    figure = draw_graph([node("a"), node("b", ["a"], state="cached"), node("c", ["b"])])
    colours = [box.get_facecolor() for box in boxes(figure)]
    assert colours[0] == colours[2] != colours[1]
    assert {"ran", "was there already"} <= set(texts(figure))
    assert "was there already" not in texts(draw_graph([node("a")]))


def test_no_text_lies_over_another_and_none_leaves_its_box_or_the_figure() -> None:
    figure = draw_graph(evaluation())
    renderer = FigureCanvasAgg(figure).get_renderer()
    extents = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for number, one in enumerate(extents):
        assert not any(one.overlaps(other) for other in extents[:number])
        assert figure.bbox.containsx(one.x0)
        assert figure.bbox.containsx(one.x1)
        assert figure.bbox.containsy(one.y0)
        assert figure.bbox.containsy(one.y1)
    frames = [box.get_window_extent(renderer) for box in boxes(figure)]
    inside = [e for e in extents if any(Bbox.intersection(e, frame) is not None for frame in frames)]
    assert len(inside) == 2 * len(evaluation())
    for extent in inside:
        assert any(frame.x0 <= extent.x0 and extent.x1 <= frame.x1 for frame in frames)


def test_no_arrow_runs_through_a_box() -> None:
    chain = [node(f"chain{n}", [f"chain{n - 1}"] if n else []) for n in range(6)]
    skips = [node("side", ["chain0"], parts=3), node("end", ["side", "chain5"]), node("other", ["side", "chain2"])]
    figure = draw_graph([*chain, *skips])
    frames = [box.get_bbox() for box in boxes(figure)]
    fine = Affine2D().scale(1000)  # curves are cut into lines of about one
    curves = [
        patch.get_path().transformed(fine).to_polygons(closed_only=False)[0] / 1000
        for patch in figure.axes[0].patches
        if isinstance(patch, PathPatch)
    ]
    straight = [np.linspace(*line.get_xydata(), 100) for line in figure.axes[0].lines]
    assert len(straight) >= 4
    for points in [*curves, *straight]:
        for frame in frames:
            inside = Bbox.from_extents(frame.x0 + 0.08, frame.y0 + 0.01, frame.x1 - 0.08, frame.y1 - 0.01)
            assert inside.count_contains(points) == 0


def test_an_arrow_that_others_imply_is_left_out() -> None:
    def arrows(*nodes: dict[str, Any]) -> int:
        return sum(isinstance(patch, PathPatch) for patch in draw_graph(nodes).axes[0].patches)

    chain = node("a"), node("b", ["a"]), node("c", ["b"])
    assert arrows(*chain) == arrows(chain[0], chain[1], node("c", ["a", "b"])) == 4


def test_the_order_of_the_steps_does_not_matter_to_what_is_there() -> None:
    shuffled = evaluation()
    random.Random(0).shuffle(shuffled)
    assert sorted(texts(draw_graph(shuffled))) == sorted(texts(draw_graph(evaluation())))


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_drawing_is_the_same_every_time(kind: str) -> None:
    assert as_bytes(draw_graph(evaluation()), kind) == as_bytes(draw_graph(evaluation()), kind)


def test_one_step_of_a_long_name_is_a_figure() -> None:
    figure = draw_graph([node(f"{'long-' * 10}sae/x", seconds=59.96)])
    assert "1 min 0 s" in texts(figure)
    (title,) = (text for text in figure.axes[0].texts if text.get_text().startswith("long-"))
    assert title.get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1 < figure.bbox.x1


def test_an_input_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="gone is an input of a step"):
        draw_graph([node("a", ["gone"])])
    with pytest.raises(ValueError, match="no step to draw"):
        draw_graph([])
