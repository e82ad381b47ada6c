"""The synthetic experiment over training time as tables: means over seeds, speed, the nearest to what is published."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.report.synthetic.over_seeds import interval_text, mean_of_few
from isoenergy.report.synthetic.recovery_table import (
    HOLDS_FROM,
    PUBLISHED,
    VIOLATED_UNTIL,
    Published,
    in_words,
    numbers_of,
)
from isoenergy.report.synthetic.training_speed import Course, speed

W, MMA = "transport/instances", "codes/instances"
TARGETS = (0.6, 0.5, 0.45, 0.396, 0.3, 0.25, 0.184)
"""W of which it is told how soon it is reached; 0.396 and 0.184 are the paper's."""
_SHOWN = {W: "W", MMA: "mma", "codes_weighted/merged": "mma by energy, merged", "r2": "R²", "bimodal_energy": "bimodal"}
_LINES = 12


@dataclass(frozen=True)
class Courses:
    """What `measure_curves` returned for each seed of one setting."""

    instance_cosine: float
    atom_norm: str
    epochs: int
    seeds: Mapping[int, Mapping[str, Any]]

    @property
    def what(self) -> dict[str, Any]:
        """What tells it from others."""
        return {"instance_cosine": self.instance_cosine, "atom_norm": self.atom_norm, "epochs": self.epochs}

    def points(self, beta: str) -> list[list[Mapping[str, Any]]]:
        """The points of a β by seed, in the order of epochs."""
        return [[point for point in seed["points"] if point["beta"] == beta] for seed in self.seeds.values()]


def summarise_curves(runs: Sequence[Courses]) -> dict[str, Any]:
    """Return JSON values: a curve a setting and β, how soon W is reached, and the nearest to the published numbers."""
    curves, speeds, nearest = [], [], []
    for run in runs:
        betas = list(dict.fromkeys(point["beta"] for seed in run.seeds.values() for point in seed["points"]))
        courses: dict[str, list[Course]] = {}
        for beta in betas:
            by_seed = run.points(beta)
            courses[beta] = [[(p["epoch"], p["recovery"]["instances"]["transport"]) for p in own] for own in by_seed]
            points = []
            for same in zip(*by_seed, strict=True):
                numbers = [numbers_of(point) for point in same]
                metrics = {name: mean_of_few([each[name] for each in numbers]) for name in numbers[0]}
                points.append({"epoch": same[0]["epoch"], "step": same[0]["step"], "metrics": metrics})
            curve = {**run.what, "beta": float(beta), "seeds": len(by_seed), "points": points}
            curves.append(curve)
            nearest += [row for item in PUBLISHED if (row := _nearest(curve, item))]
        if "0" in betas:
            speeds += [
                {**run.what, "beta": float(beta), **speed(courses["0"], courses[beta], target)}
                for beta in betas
                if beta != "0"
                for target in TARGETS
            ]
    return {"curves": curves, "speed": speeds, "published": nearest}


def curves_parquet(runs: Sequence[Courses]) -> bytes:
    """Return every point of every seed as Parquet: a row each, a column a number."""
    rows = [
        {
            **run.what,
            "seed": seed,
            "beta": float(point["beta"]),
            "epoch": point["epoch"],
            "step": point["step"],
            **numbers_of(point),
        }
        for run in runs
        for seed, result in run.seeds.items()
        for point in result["points"]
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd")
    return buffer.getvalue()


def curves_markdown(summary: Mapping[str, Any]) -> str:
    """Return the summary as Markdown tables."""
    lines = [
        "# Recovery of known atoms over training time\n",
        "Means over seeds [Student's 95 % interval]. A point is of one training, whose learning rate rises and falls "
        "over all of its epochs: after 60 epochs of 500 an SAE is not where a training of 60 epochs ends. W and mma "
        "are against D′, mma on codes, unless said otherwise.\n",
        "## Sooner with alignment?\n",
        "Epochs after which W is reached, and their ratio seed by seed (above 1: alignment is sooner). A dash: not "
        "all seeds get there; in brackets how many do. ≥: seeds that do not get there without alignment count as if "
        "they did at the end.\n",
        "| setting | β | W | without | with | ratio of steps |",
        "|---" * 6 + "|",
    ]
    for row in summary["speed"]:
        if row["plain_reached"] or row["aligned_reached"]:
            lines.append(
                f"| {_setting(row)} | {row['beta']:g} | {row['target']:g} | {_epochs(row, 'plain')} | "
                f"{_epochs(row, 'aligned')} | {_ratio(row)} |"
            )
    lines += [
        "\n## Nearest to the published numbers\n",
        "| setting | β | number | published | nearest | after epoch | R² there | at the end |",
        "|---" * 8 + "|",
    ]
    for row in summary["published"]:
        lines.append(
            f"| {_setting(row)} | {row['beta']:g} | {row['number']} | {row['published']:g} | "
            f"{interval_text(row['ours'])} | {row['epoch']} | {interval_text(row['r2'])} | "
            f"{interval_text(row['end'])} |"
        )
    for curve in summary["curves"]:
        points = curve["points"]
        lines += [
            f"\n## {_setting(curve)}, β = {curve['beta']:g}, {curve['seeds']} seeds\n",
            f"| epoch | {' | '.join(_SHOWN.values())} |",
            "|---" * (1 + len(_SHOWN)) + "|",
        ]
        for point in points[:: max(len(points) // _LINES, 1)] + points[-1:] * (len(points) > _LINES):
            numbers = (interval_text(point["metrics"][name]) for name in _SHOWN)
            lines.append(f"| {point['epoch']} | {' | '.join(numbers)} |")
    return "\n".join([*lines, ""])


def _nearest(curve: Mapping[str, Any], item: Published) -> dict[str, Any] | None:
    cosine = curve["instance_cosine"]
    if VIOLATED_UNTIL < cosine < HOLDS_FROM or (item.holds, item.aligned) != (cosine >= HOLDS_FROM, curve["beta"] > 0):
        return None
    name = f"{item.measure}/instances"
    known = [point for point in curve["points"] if point["metrics"][name]["mean"] is not None]
    if not known:
        return None
    point = min(known, key=lambda p: abs(p["metrics"][name]["mean"] - item.value))
    return {
        **{key: curve[key] for key in ("instance_cosine", "atom_norm", "epochs", "beta")},
        "number": "W" if item.measure == "transport" else "mma",
        "published": item.value,
        "ours": point["metrics"][name],
        "epoch": point["epoch"],
        "r2": point["metrics"]["r2"],
        "end": known[-1]["metrics"][name],
    }


def _setting(row: Mapping[str, Any]) -> str:
    return f"{in_words(row['instance_cosine'])}, {row['atom_norm']} norms, {row['epochs']} epochs"


def _epochs(row: Mapping[str, Any], which: str) -> str:
    mean = row[f"{which}_epochs"]["mean"]
    return f"– ({row[f'{which}_reached']} of {row['seeds']})" if mean is None else f"{mean:.1f}"


def _ratio(row: Mapping[str, Any]) -> str:
    text = interval_text(row["ratio"])
    return f"≥ {text}" if row["at_least"] and row["ratio"]["mean"] is not None else text
