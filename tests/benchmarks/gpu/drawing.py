"""A picture of what was measured: rows a second by shape, and what a step is made of."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.gpu.bench import Measures
from tests.benchmarks.pursuit_models import Overcomplete, SaeLens, Shape

_COLOURS = {"isoenergy": "#1b7f79", Overcomplete.name: "#d98c3f", SaeLens.name: "#8c7fb8"}


def draw(report: Measures, path: Path) -> None:
    """Draw the parts that are there."""
    parts = report["parts"]
    shapes = [each for each in parts.get("speed", {}).get("shapes", []) if "isoenergy" in each]
    made_of = parts.get("operations", {}).get("shapes", [])
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    rows_a_second(axes[0], shapes)
    milliseconds(axes[1], made_of)
    environment = report["environment"]
    figure.suptitle(
        f"Matching Pursuit on {environment['device']}, torch {environment['torch']}{' (tiny)' * report['tiny']}"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def rows_a_second(axis: Axes, shapes: list[Measures]) -> None:
    """A training step, ours and theirs; over a peer's bar, how many times faster ours is."""
    for place, (name, colour) in enumerate(_COLOURS.items()):
        there = [number for number, each in enumerate(shapes) if "step" in each.get(name, {})]
        if not there:
            continue
        bars = axis.bar(
            [number + 0.27 * (place - 1) for number in there],
            [shapes[number][name]["step"] for number in there],
            0.26,
            label=name,
            color=colour,
        )
        if name != "isoenergy":
            axis.bar_label(bars, [f"×{shapes[number][name]['ratio']['step']:.0f}" for number in there], fontsize=8)
    names = [str(Shape(**each["shape"])) for each in shapes]
    axis.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=8)
    axis.set_yscale("log")
    axis.set_ylabel("rows a second, training step")
    if shapes:
        axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def milliseconds(axis: Axes, shapes: list[Measures]) -> None:
    """The parts of a step at the largest shapes."""
    for number, each in enumerate(shapes):
        names = list(each["milliseconds"])
        heights = [place + 0.27 * (number - 1) for place in range(len(names))]
        axis.barh(heights, each["milliseconds"].values(), 0.26, label=str(Shape(**each["shape"])))
        axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds")
    axis.spines[["top", "right"]].set_visible(False)
    if shapes:
        axis.legend(frameon=False)
