"""What all figures share: colours and names of the classes, panels, error bars, and a figure as bytes."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.intervals import Interval, is_known

COLOURS = {"bimodal": "#6a4c93", "image_only": "#d9822b", "text_only": "#2a6fbb", "image": "#d9822b", "text": "#2a6fbb"}
"""Of the classes of atoms, and of the modalities."""
LABELS = {"bimodal": "bimodal", "image_only": "images only", "text_only": "captions only"}
"""Of the classes of atoms."""
SHADES = ("#1c1c22", "#7b7b86", "#b0a99a", "#4f6b66", "#9c7c7c")
"""Of the embeddings themselves, then of each SAE: colours are of modalities and classes alone."""
QUIET = "#777777"


def as_bytes(figure: Figure, kind: str) -> bytes:
    """Return the figure as `svg` or `png`, the same bytes every time; it is laid out, see `lay_out`."""
    lay_out(figure)
    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "isoenergy"}):  # names of clip paths and markers are random otherwise
        figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
    return buffer.getvalue()


def lay_out(figure: Figure) -> None:
    """Move the panels to where they stay: once for all kinds of file, and without the drawing that savefig does for it.

    What is added later and counts in a layout finds no room.
    """
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)  # after "none", each kind is drawn twice


def single_panel(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """Return a figure with one plain panel."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    plain(axes)
    return figure, axes


def error_bars(intervals: Sequence[Interval]) -> npt.NDArray[np.float64]:
    """Return `(2, points)` lengths of error bars, below and above; 0 where there is no interval."""
    lengths = [
        [max(it["value"] - it["low"], 0), max(it["high"] - it["value"], 0)] if is_known(it) else [0, 0]
        for it in intervals
    ]
    return np.array(lengths, np.float64).reshape(-1, 2).T


def plain(axes: Axes, letters: float = 9) -> None:
    """Take away what no panel needs. letters: the size of the numbers along the axes, in points."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=letters)
