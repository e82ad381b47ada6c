"""The picture of a search: its trials by two objectives, the front, and the one to take."""

from itertools import combinations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from isoenergy.report.figures.label_placement import label_points
from isoenergy.report.figures.shared import plain
from tune.findings import Findings, Trial
from tune.objectives import Objective

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LABELS: dict[Objective, str] = {
    "r2": "R²",
    "mse": "mean squared error",
    "bimodal-energy": "bimodal energy",
    "p-acc": "p_acc",
    "delta-r1": "δ_r@1",
    "always-on-energy": "always-on energy",
}
_AREA = 42
_RECOMMENDED = "#c1121f"


def pareto_figure(findings: Findings) -> Figure:
    """Draw each pair of objectives: colour is β, shape is expansion and k; trials that were stopped early are small."""
    pairs = list(combinations(findings.objectives.names, 2))
    figure = Figure(figsize=(5.2 * len(pairs) + 1.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    shown = findings.measured
    stopped = len(shown) - len(findings.finished)
    small = f" and {stopped} stopped early (small)" if stopped else ""
    counts = f"{len(findings.finished)} trials trained to the end{small}, of {len(findings.trials)}"
    figure.suptitle(f"{counts}; β from dark to light", fontsize=10)
    marks = {name: _MARKS[n % len(_MARKS)] for n, name in enumerate(dict.fromkeys(map(_structure, shown)))}
    for axes, pair in zip(panels, pairs, strict=True):
        _draw(axes, findings, pair, marks)
    for name, mark in marks.items():
        panels[0].scatter([], [], marker=mark, color="#777777", label=name)
    if marks:
        figure.legend(frameon=False, fontsize=8, loc="outside right center")
    for axes, pair in zip(panels, pairs, strict=True):
        labels = [f"{'recommended: ' * (trial is findings.recommended)}β = {trial.beta:g}" for trial in findings.front]
        label_points(axes, [_point(findings, trial, pair) for trial in findings.front], labels)
    return figure


def _draw(axes: Axes, findings: Findings, pair: tuple[Objective, Objective], marks: dict[str, str]) -> None:
    betas = [trial.beta for trial in findings.measured if trial.beta > 0] or [1.0]
    norm = LogNorm(min(betas), max(max(betas), 1.01 * min(betas)))
    for trial in findings.measured:
        colour = colormaps["viridis"](norm(max(trial.beta, min(betas))))
        size = _AREA if trial.status == "finished" else _AREA / 3
        axes.scatter(*_point(findings, trial, pair), color=colour, marker=marks[_structure(trial)], s=size, linewidth=0)
    front = np.array(sorted(_point(findings, trial, pair) for trial in findings.front))
    if len(front) and len(findings.objectives.names) == 2:
        axes.plot(*front.T, color="#999999", linewidth=1, zorder=0)
    if (best := findings.recommended) is not None:
        axes.scatter(*_point(findings, best, pair), s=170, facecolor="none", edgecolor=_RECOMMENDED, linewidth=1.6)
    axes.margins(0.12)
    axes.set(xlabel=_LABELS[pair[0]], ylabel=_LABELS[pair[1]])
    plain(axes)


def _point(findings: Findings, trial: Trial, pair: tuple[Objective, Objective]) -> tuple[float, float]:
    x, y = (trial.measures[findings.objectives.measure(name)] for name in pair)
    return x, y


def _structure(trial: Trial) -> str:
    return f"expansion {trial.settings['expansion']}, k {trial.settings['k']}"
