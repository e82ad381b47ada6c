from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from isoenergy.report.figures.label_placement import Box, label_points


def drawn(points: np.ndarray, obstacles: Sequence[Box] = ()) -> tuple[Figure, list[Text]]:
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(*points.T, "o", markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="x", ylabel="y")
    label_points(axes, [(x, y) for x, y in points], [str(number) for number in range(len(points))], obstacles)
    figure.draw_without_rendering()
    return figure, list(axes.texts)


def boxes(figure: Figure, texts: list[Text]) -> list[Bbox]:
    renderer = figure.canvas.get_renderer()
    return [Text.get_window_extent(text, renderer) for text in texts]


CLOUDS = {
    "one point": np.array([[0.5, 0.5]]),
    "at the corners": np.array([[0.0, 0.0], [1, 1], [0, 1], [1, 0]]),
    "one place": np.full((12, 2), 0.4),
    "a narrow column": np.stack([np.full(12, 0.3), np.linspace(0.3, 0.6, 12)], axis=1),
    "random": np.random.default_rng(0).random((30, 2)),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_label_is_on_another_or_on_a_point_or_outside(cloud: str) -> None:
    points = CLOUDS[cloud]
    figure, texts = drawn(points)
    extents = boxes(figure, texts)
    assert [text.get_text() for text in texts] == [str(number) for number in range(len(points))]
    assert not [pair for pair in combinations(extents, 2) if Bbox.intersection(*pair) is not None]
    axes = figure.axes[0]
    for place in axes.transData.transform(points):
        assert not [box for box in extents if box.contains(*place)]
    assert all(axes.bbox.contains(*corner) for box in extents for corner in (box.min, box.max))


def test_labels_keep_off_obstacles_and_without_them_would_not() -> None:
    points = np.array([[0.5, 0.5]])
    wall = (0.5, 0.5, 0.56, 0.7)
    for obstacles, hit in (((), True), ((wall,), False)):
        figure, texts = drawn(points, obstacles)
        box = Bbox.from_extents(*figure.axes[0].transData.transform([wall[:2], wall[2:]]).ravel())
        assert (Bbox.intersection(boxes(figure, texts)[0], box) is not None) == hit


def test_no_points_need_no_labels() -> None:
    assert drawn(np.empty((0, 2)))[1] == []
