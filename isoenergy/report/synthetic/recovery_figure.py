"""The synthetic experiment as a figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import plain

_Key = tuple[float, str, str]

_PANELS = {
    "transport/instances": "W against D′ (lower is better)",
    "codes/instances": "mma on codes against D′",
    "codes_weighted/parts": "mma on codes against D, by energy",
    "bimodal_energy": "bimodal energy",
}
_PUBLISHED = {"transport/instances": "W", "codes/instances": "mma"}
"""What the paper calls a metric of which it printed numbers."""


def recovery_by_beta(summary: Mapping[str, Any]) -> Figure:
    """Draw W, mma and the bimodal energy by β, a line for each τ₁, encoder and alignment.

    Crosses are the published numbers.

    summary: what `recovery_table.summarise` returned. Bars are 95 % intervals over seeds.
    """
    figure = Figure(figsize=(10.4, 6.8), layout="constrained")
    betas = sorted({cell["beta"] for cell in summary["cells"]})
    lines = _lines(summary["cells"])
    shades = colormaps["viridis"](np.linspace(0, 0.8, max(len(lines), 2)))
    for axes, (metric, title) in zip(figure.subplots(2, 2).ravel(), _PANELS.items(), strict=True):
        published = [row for row in summary["published"] if row["number"] == _PUBLISHED.get(metric)]
        for number, (key, cells) in enumerate(lines.items()):
            # lines lie side by side at each β, so that no interval hides another
            shift, colour = 0.4 / len(lines) * (number - (len(lines) - 1) / 2), shades[number]
            x = {beta: rank + shift for rank, beta in enumerate(betas)}
            _line(axes, metric, cells, x, color=colour, label=_label(key, lines))
            rows = [row for row in published if _key(row) == key]
            if rows:
                crosses = [x[row["beta"]] for row in rows]
                axes.plot(crosses, [row["published"] for row in rows], "x", markersize=9, color=colour)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
        axes.set_xlabel("β", fontsize=9)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        plain(axes, letters=8)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _line(axes: Axes, metric: str, cells: Sequence[Mapping[str, Any]], x: Mapping[float, float], **style: Any) -> None:
    """Draw a metric's means over β, and their intervals as far as there are any."""
    known = {cell["beta"]: cell["metrics"][metric] for cell in cells if cell["metrics"][metric]["mean"] is not None}
    means = [interval["mean"] for interval in known.values()]
    lengths = [
        [0 if each[end] is None else abs(each["mean"] - each[end]) for each in known.values()]
        for end in ("low", "high")
    ]
    axes.errorbar([x[beta] for beta in known], means, yerr=lengths, marker="o", capsize=3, **style)


def _key(cell: Mapping[str, Any]) -> _Key:
    return cell["instance_cosine"], cell["sparse_encoder"], cell["alignment"]


def _lines(cells: Sequence[Mapping[str, Any]]) -> dict[_Key, list[Mapping[str, Any]]]:
    """Return the cells of each line; the β = 0 of an encoder belongs to all its alignments."""
    lines: dict[_Key, list[Mapping[str, Any]]] = {}
    for cell in cells:
        lines.setdefault(_key(cell), []).append(cell)
    for key, own in lines.items():
        if all(cell["beta"] > 0 for cell in own):
            own[:0] = [cell for cell in cells if cell["beta"] == 0 and _key(cell)[:2] == key[:2]]
    return lines


def _label(key: _Key, lines: Iterable[_Key]) -> str:
    differing = [len(set(part)) > 1 for part in zip(*lines, strict=True)]
    words = [word for word, shown in zip(key[1:], differing[1:], strict=True) if shown]
    return ", ".join([f"τ₁ = {key[0]:g}", *words])
