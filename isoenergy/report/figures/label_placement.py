"""Short labels beside points, none on top of another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from isoenergy.report.figures.shared import lay_out

Floats = npt.NDArray[np.float64]

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in the panel's units."""

_DISTANCES = (10.0, 16.0, 24.0, 34.0, 46.0, 60.0)
"""Points, from the label's middle."""
_DIRECTIONS = np.deg2rad(np.arange(45, 405, 22.5))
_OFFSETS = np.concatenate([r * np.stack([np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)], axis=1) for r in _DISTANCES])
_MARKER = 6.0


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    obstacles: Sequence[Box] = (),
    size: float = 8.0,
) -> None:
    """Write a label near each point, on no other, no point and no obstacle, and join them by a line if it is far.

    The panel's limits, scales and the figure's layout must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None  # a panel without a figure cannot be drawn
    lay_out(figure)
    scale = 72 / figure.dpi
    places: Floats = axes.transData.transform(points) * scale
    box = np.array(axes.bbox.extents) * scale
    extents = [np.array([0.36 * size * len(label) + 1.5, 0.55 * size]) for label in labels]
    taken: list[tuple[Floats, Floats]] = [(place, np.full(2, _MARKER / 2)) for place in places]
    for left, bottom, right, top in obstacles:
        corners = axes.transData.transform([(left, bottom), (right, top)]) * scale
        taken.append((corners.mean(0), np.abs(corners[1] - corners[0]) / 2))
    for point, place, label, extent in zip(points, places, labels, extents, strict=True):
        offset = _free(place, extent, taken, box)
        taken.append((place + offset, extent))
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "#666666", "shrinkA": size / 2, "shrinkB": 3}
        near = np.hypot(*offset) < 1.5 * size + _MARKER
        axes.annotate(
            label,
            point,
            (float(offset[0]), float(offset[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            arrowprops=None if near else line,
        ).set_in_layout(False)


def _free(place: Floats, extent: Floats, taken: Sequence[tuple[Floats, Floats]], box: Floats) -> Floats:
    """The nearest offset at which nothing is hit; if there is none, that which hits least."""
    others, extents = (np.array(part) for part in zip(*taken, strict=True))
    middles = place + _OFFSETS
    hits = (np.abs(middles[:, None] - others) < extent + extents).all(2).sum(1)
    outside = ((middles - extent < box[:2]) | (middles + extent > box[2:])).any(1)
    nearest: Floats = _OFFSETS[np.argmin(hits + outside)]
    return nearest
