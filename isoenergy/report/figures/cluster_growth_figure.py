"""How a cluster grew and shrank with what ran on it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import plain

_RUNNING, _PENDING = "#6a4c93", "#d9822b"


def cluster_growth(
    seconds: Sequence[float],
    nodes: Mapping[str, Sequence[int]],
    pending: Sequence[int],
    running: Sequence[float],
    title: str,
) -> Figure:
    """Draw the nodes of each type, one type on top of the other, above what waits for room and what runs.

    seconds: `(samples,)`, ascending; each sample holds until the next. nodes: `(samples,)` of each type.
    pending, running: `(samples,)`.
    """
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    above, below = figure.subplots(2, 1, sharex=True)
    floor = np.zeros(len(seconds))
    colours = colormaps["viridis"](np.linspace(0.25, 0.85, max(len(nodes), 1)))
    for (name, counts), colour in zip(nodes.items(), colours, strict=False):
        top = floor + np.asarray(counts)
        label = f"{name} (at most {max(counts, default=0)})"
        above.fill_between(seconds, floor, top, step="post", color=colour, linewidth=0, label=label)
        floor = top
    above.set(ylabel="nodes", ylim=(0, floor.max(initial=1) * 1.25))
    below.step(seconds, running, where="post", color=_RUNNING, linewidth=1.6, label="trials at work")
    below.step(seconds, pending, where="post", color=_PENDING, linewidth=1.6, label="trials that wait for a node")
    below.set(xlabel="seconds", ylabel="number", ylim=(0, max(*running, *pending, 1) * 1.25))
    for axes in (above, below):
        plain(axes)
        axes.yaxis.get_major_locator().set_params(integer=True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    return figure
