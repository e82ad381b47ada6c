"""The tasks' figures: what is found in one gallery, and whether composed queries lie where images lie."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.report.figures.shared import COLOURS, SHADES, error_bars, plain
from isoenergy.report.task_names import EMBEDDINGS, MEASURES

_LINES = {
    "targets": ("their targets", "#1c1c22", "-"),
    "source": ("source alone", "#8a8a94", "-"),
    "text": ("text alone", COLOURS["text"], "-"),
    "sum": ("sum", "#4f6b66", "-"),
    "bimodal_sum": ("source + text’s bimodal atoms", COLOURS["bimodal"], "-"),
}
_STYLES = ("-", "--", ":", "-.")
_GALLERY_PANELS = {"ndcg": "NDCG@10", "own": "share of the query’s own modality"}
_MODALITIES = {"text": COLOURS["text"], "image": COLOURS["image"]}


def retrieval_from_one_gallery(task: Mapping[str, Any], names: Mapping[str, str], narrow: bool = False) -> Figure:
    """Draw NDCG@10, and how much of the first ten is of the query's own modality, a row a kind of embeddings.

    narrow: for a phone, one panel below the other.
    """
    rows = task["rows"]
    height = 1.4 + 0.27 * len(rows)
    figure = Figure(figsize=(4.5, 2 * height) if narrow else (10.4, height), layout="constrained")
    panels = figure.subplots(*((2, 1) if narrow else (1, 2)), sharey=True)
    for axes, (measure, title) in zip(panels, _GALLERY_PANELS.items(), strict=True):
        for offset, (modality, colour) in zip((-0.12, 0.12), _MODALITIES.items(), strict=True):
            found = [row["values"][f"{measure}_{modality}"] for row in rows]
            _points(axes, found, offset, colour, f"{modality} queries")
        axes.set(xlabel=title, xlim=(0, 1))
        plain(axes)
    panels[1].axvline(1 / 3, color="#888888", linewidth=1, linestyle="--")
    panels[0].set_yticks(range(len(rows)), _titles(rows, names, narrow), fontsize=8)
    panels[0].invert_yaxis()
    for number, (before, after) in enumerate(pairwise(rows)):
        if before["sae"] != after["sae"]:
            for axes in panels:
                axes.axhline(number + 0.5, color="#cccccc", linewidth=0.8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=1 if narrow else 2, frameon=False, fontsize=9)
    return figure


def tasks_at_a_glance(tasks: Sequence[Mapping[str, Any]], sae: str, label: str, narrow: bool = False) -> Figure:
    """Draw the first measure of each task, a row a task: of the embeddings, centred, rebuilt, and of bimodal atoms.

    sae, label: the name and the label of the SAE that is shown. narrow: for a phone.
    """
    kinds = {
        (None, "original"): ("embeddings as they are", "o", SHADES[0], SHADES[0]),
        (None, "centred"): ("embeddings, centred", "o", SHADES[0], "white"),
        (sae, "reconstructed"): (f"{label}, all atoms", "s", SHADES[1], SHADES[1]),
        (sae, "bimodal"): (f"{label}, unimodal atoms removed", "D", COLOURS["bimodal"], COLOURS["bimodal"]),
    }
    figure = Figure(figsize=(4.5 if narrow else 10.4, 1.5 + 0.55 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    for offset, (kind, (title, marker, colour, face)) in zip((-0.21, -0.07, 0.07, 0.21), kinds.items(), strict=True):
        found = {
            place: row["values"][task["measures"][0]]
            for place, task in enumerate(tasks)
            for row in task["rows"]
            if (row["sae"], row["embeddings"]) == kind
        }
        if found:
            lengths = error_bars(list(found.values()))
            values, rows = [each["value"] for each in found.values()], [place + offset for place in found]
            style: dict[str, Any] = {
                "fmt": marker,
                "color": colour,
                "markerfacecolor": face,
                "markersize": 6,
                "linewidth": 1.2,
            }
            axes.errorbar(values, rows, xerr=lengths, label=title, **style)
    titles = [f"{task['title'].partition(':')[0]}\n{MEASURES[task['measures'][0]][0]}" for task in tasks]
    axes.set_yticks(range(len(tasks)), titles, fontsize=8 if narrow else 9)
    axes.set(xlim=(0, 1), xlabel="right is better")
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    plain(axes)
    figure.legend(loc="outside lower center", ncols=1 if narrow else 2, frameon=False, fontsize=9)
    return figure


def distances_to_images(task: Mapping[str, Any], names: Mapping[str, str], narrow: bool = False) -> Figure:
    """Draw the distances of queries, and of their targets, to the k-th nearest image. narrow: for a phone."""
    figure = Figure(figsize=(4.5, 5.2) if narrow else (10.4, 3.8), layout="constrained")
    axes = figure.subplots()
    edges = np.array(task["histogram"]["edges"])
    middle, seen = (edges[:-1] + edges[1:]) / 2, 0
    last = 0.0
    shown = [entry for entry in task["histogram"]["shares"] if entry["embeddings"] in _LINES]
    for entry in sorted(shown, key=lambda entry: list(_LINES).index(entry["embeddings"])):
        title, colour, style = _LINES[entry["embeddings"]]
        if entry["sae"] is not None:
            title, style, seen = f"{title}, {names[entry['sae']]}", _STYLES[seen % len(_STYLES)], seen + 1
        shares = np.array(entry["shares"])
        axes.plot(middle, shares, style, color=colour, linewidth=1.6, drawstyle="steps-mid", label=title)
        if entry["embeddings"] == "targets":
            axes.fill_between(middle, shares, step="mid", color=colour, alpha=0.12, linewidth=0)
        last = max(last, edges[1:][shares > 0].max(initial=0.0))
    axes.set(xlabel="cosine distance to the 5th nearest image", ylabel="share of the queries", xlim=(0, last or 1))
    axes.set_ylim(bottom=0)
    plain(axes)
    figure.legend(loc="outside lower center" if narrow else "outside right upper", frameon=False, fontsize=8)
    return figure


def _titles(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str], narrow: bool) -> list[str]:
    """Return what each row is of; narrow: the SAE is named at the first of its rows alone."""
    kinds, saes = [EMBEDDINGS[row["embeddings"]] for row in rows], [row["sae"] for row in rows]
    named = [
        sae is not None and not (narrow and sae == before) for before, sae in zip([None, *saes], saes, strict=False)
    ]
    between = "\n" if narrow else " "
    return [f"{names[sae]}:{between}{kind}" if own else kind for kind, sae, own in zip(kinds, saes, named, strict=True)]


def _points(axes: Axes, values: list[Mapping[str, float]], offset: float, colour: str, label: str) -> None:
    x = np.array([each["value"] for each in values])
    ends = np.abs(np.array([[each["low"] for each in values], [each["high"] for each in values]]) - x)
    axes.errorbar(
        x, np.arange(len(x)) + offset, xerr=ends, fmt="o", color=colour, markersize=4.5, linewidth=1, label=label
    )
