from isoenergy.report.figures.cluster_growth_figure import cluster_growth
from isoenergy.report.figures.shared import as_bytes

SECONDS = [0.0, 1.0, 2.5, 4.0]


def test_types_are_stacked_and_each_moment_holds_until_the_next() -> None:
    nodes = {"gpu_spot": [0, 2, 2, 0], "gpu_ondemand": [0, 0, 1, 0]}
    figure = cluster_growth(SECONDS, nodes, pending=[3, 1, 0, 0], running=[0, 2, 3, 0], title="a sweep")
    above, below = figure.axes
    spot, demand = (area.get_paths()[0].get_extents() for area in above.collections)
    assert (spot.y0, spot.y1, demand.y1) == (0, 2, 3)
    running, waiting = below.lines
    assert running.get_drawstyle() == "steps-post"
    assert [*running.get_ydata()] == [0, 2, 3, 0]
    assert [*waiting.get_ydata()] == [3, 1, 0, 0]
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert labels == ["gpu_spot (at most 2)", "gpu_ondemand (at most 1)"]
    assert as_bytes(figure, "png").startswith(b"\x89PNG")


def test_a_cluster_that_never_grew_is_drawn_too() -> None:
    figure = cluster_growth([0.0], {}, [0], [0], "nothing")
    assert [axes.get_ylim() for axes in figure.axes] == [(0, 1.25), (0, 1.25)]
    assert [axes.get_legend() is None for axes in figure.axes] == [True, False]
    assert b"</svg>" in as_bytes(figure, "svg")
