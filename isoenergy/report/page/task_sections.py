"""The tasks: a table each, its figures, and a line for those who see no page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from isoenergy.evaluation.ways import WAYS
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.figures.task_figures import distances_to_images, retrieval_from_one_gallery, tasks_at_a_glance
from isoenergy.report.intervals import Interval, bounds, is_known, number, spread, told, value_of
from isoenergy.report.saes import Sae, real_saes
from isoenergy.report.tables.sae_tables import Cell, Group, Row
from isoenergy.report.task_names import EMBEDDINGS, MEASURES
from isoenergy.statistics.thresholds import LEAST_IMAGES

Task = Mapping[str, Any]

_AS_THEY_ARE = "The embeddings themselves"
_ALL = "all"
_FEW = f"; of fewer than {LEAST_IMAGES} a number has no interval"
_HEADLINE = tuple(name for name, way in WAYS.items() if way.headline)
_THEMSELVES = tuple(name for name in _HEADLINE if name == "original" or WAYS[name].linear)
_REBUILT = tuple(name for name in _HEADLINE if name != "original")


@dataclass(frozen=True)
class TaskSection:
    """A task as the page shows it."""

    title: str
    what: str
    """Protocol, numbers and chance."""
    left_out: str
    """What could not be measured on; empty if nothing was left out."""
    columns: Sequence[str]
    groups: Sequence[Group]
    drawings: Sequence[Drawing]
    in_overview: bool
    """Whether its first measure is in the overview."""


@dataclass(frozen=True)
class TaskReport:
    """The tasks as the page shows them."""

    columns: Sequence[str]
    """Of the overview: kinds of embeddings."""
    overview: Sequence[Row]
    """The first measure of each task that is measured on the same kinds of embeddings."""
    sections: Sequence[TaskSection]
    glance: Drawing | None
    """The overview as a figure."""

    @classmethod
    def of(cls, tasks: Sequence[Task], saes: Sequence[Sae], names: Mapping[str, str]) -> Self:
        """Gather the tasks; names: the SAEs' labels by name. The overview shows the last SAE trained on true pairs."""
        real = real_saes(saes)[-1:]
        kinds: dict[tuple[str | None, str], str] = {(None, name): EMBEDDINGS[name] for name in _THEMSELVES}
        for sae in real:
            kinds |= {(sae["name"], name): f"{names[sae['name']]}, {EMBEDDINGS[name]}" for name in _REBUILT}
        rows = []
        for task in (task for task in tasks if "histogram" not in task):
            measure = task["measures"][0]
            of = {(row["sae"], row["embeddings"]): _runs(row, measure) for row in task["rows"]}
            cells = [_cell(of[k], MEASURES[measure][1]) if k in of else Cell("") for k in kinds]
            rows.append(Row(f"{task['title']}: {MEASURES[measure][0]}", "", cells))
        compared = [task for task in tasks if "histogram" not in task]
        name = real[0]["name"] if real else ""
        glance = _glance(compared, name, names.get(name, ""))
        return cls(list(kinds.values()), rows, [_section(task, names) for task in tasks], glance)

    @property
    def drawings(self) -> list[Drawing]:
        """The figures of all tasks."""
        shown = [self.glance] if self.glance else []
        return shown + [drawing for section in self.sections for drawing in section.drawings]


def _glance(tasks: Sequence[Task], sae: str, label: str) -> Drawing | None:
    if not tasks:
        return None
    return Drawing.of(
        "tasks",
        "the first measure of each task, of the embeddings as they are and centred, of all atoms and of bimodal ones",
        tasks_at_a_glance(tasks, sae, label),
        wide=True,
        narrow=tasks_at_a_glance(tasks, sae, label, narrow=True),
        caption="Violet against grey: what removing the unimodal atoms does; hollow against round: what centring does.",
    )


def task_line(task: Task, saes: Sequence[Sae], names: Mapping[str, str]) -> str:
    """Return the first measure of a task on the embeddings and on the last SAE that was trained on true pairs."""
    measure = task["measures"][0]
    real = real_saes(saes)
    shown = {None: "", **({real[-1]["name"]: f"; {names[real[-1]['name']]}: "} if real else {})}
    text = f"{task['name']}: {MEASURES[measure][0]} "
    for sae, start in shown.items():
        rows = [row for row in task["rows"] if row["sae"] == sae and row.get("group", _ALL) == _ALL]
        rows = [row for row in rows if row["embeddings"] in _HEADLINE or row["embeddings"] not in WAYS]
        text += start + ", ".join(f"{EMBEDDINGS[r['embeddings']]} {told(_runs(r, measure))}" for r in rows)
    return text


def _has_few(task: Task) -> bool:
    """Return whether a number has no interval as what is asked is little."""
    values = [value for row in task["rows"] for value in row["values"].values()]
    return any(math.isfinite(value["value"]) and not is_known(value) for value in values)


def _section(task: Task, names: Mapping[str, str]) -> TaskSection:
    groups = list(dict.fromkeys(row["group"] for row in task["rows"] if row.get("group", _ALL) != _ALL))
    columns = [(measure, _ALL) for measure in task["measures"]]
    columns += [(task["measures"][0], group) for group in groups]
    of: dict[str | None, dict[str, dict[str, Mapping[str, Any]]]] = {}
    for row in task["rows"]:
        of.setdefault(row["sae"], {}).setdefault(row["embeddings"], {})[row.get("group", _ALL)] = row
    return TaskSection(
        title=task["title"],
        what=task["what"] + _FEW * _has_few(task),
        left_out=_left_out(task["made"]),
        columns=[f"{MEASURES[m][0]}{f', {group}' if group != _ALL else ''}" for m, group in columns],
        groups=[
            Group(
                _AS_THEY_ARE if sae is None else f"With {names[sae]}",
                [
                    Row(
                        EMBEDDINGS[name], "", [_cell(_runs(by_group[group], m), MEASURES[m][1]) for m, group in columns]
                    )
                    for name, by_group in rows.items()
                ],
            )
            for sae, rows in of.items()
        ],
        drawings=_drawings(task, names),
        in_overview="histogram" not in task,
    )


def _drawings(task: Task, names: Mapping[str, str]) -> list[Drawing]:
    slug = task["name"].replace("/", "-")
    if task["task"] == "mixed_retrieval":
        alt = "NDCG@10, and the share of the first ten of the query’s own modality, of all kinds of embeddings"
        caption = (
            "Left: what is found. Right: the gap’s footprint, how much of the first ten is of the query’s own modality "
            "alone; the line is a third, the share of the gallery. Bars: 95% intervals."
        )
        draw = retrieval_from_one_gallery
        return [Drawing.of(f"task-{slug}", alt, draw(task, names), True, caption, draw(task, names, narrow=True))]
    if "histogram" in task:
        alt = "distances to the fifth nearest image: targets, sources, changes and sums"
        caption = "How far queries lie from images. What lies over the targets’ curve looks like an image."
        draw = distances_to_images
        return [Drawing.of(f"task-{slug}", alt, draw(task, names), True, caption, draw(task, names, narrow=True))]
    return []


def _runs(row: Mapping[str, Any], measure: str) -> list[Interval]:
    """Return a measure of a row, and of the same in further trainings."""
    return [values[measure] for values in (row["values"], *row.get("repeats", ()))]


def _cell(runs: Sequence[Interval], form: str) -> Cell:
    value = runs[0]
    if not (is_known(value) and math.isfinite(value["value"])):
        return Cell(number(value["value"], form))
    return Cell(value_of(value, form), bounds(value, form) + spread([run["value"] for run in runs], form))


def _left_out(made: Mapping[str, Any]) -> str:
    """Say what of the data was left out, and name some."""
    counts = [f"{count:,} images ({reason})" for reason, count in made.get("rejected", {}).items()]
    counts += [f"{made['train_rejected']:,} images to train on"] if made.get("train_rejected") else []
    counts += [f"{made['unknown_keys']:,} keys that no image has"] if made.get("unknown_keys") else []
    named = f": {made['named']}" if made.get("named") else ""
    return f"Left out: {', '.join(counts)}{named}." if counts else ""
