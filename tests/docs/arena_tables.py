"""Tables of the arena's smaller runs, from the values beside them.

`python -m tests.docs.arena_tables` writes every table of docs/arena that stands below a comment such as
`<!-- table layers.json agreement sae matched -->` anew: a measure of a file, of these methods or of all that have it.
`python -m tests.docs.arena_tables FILE NAME=FOLDER ...` writes such a file from the folders of arenas, in that order.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from isoenergy.arena.roster import METHODS
from isoenergy.report.arena.arena_measures import MEASURES
from isoenergy.settings.variants import number_text

FOLDER = Path(__file__).parents[2] / "docs/arena"
_TABLE = re.compile(r"^(<!-- table (\S+) (\S+)((?: \S+)*) -->)\n\n(?:\|.*\n)*", re.MULTILINE)
_LIST = re.compile(r"\[[-\d.,\se]+\]")
_LABELS = {measure.name: measure.label for measure in MEASURES} | {"strength": "strength that was chosen"}
_DECIMALS, _KEPT_DECIMALS = 3, 5

Run = Mapping[str, Any]


def filled(text: str, folder: Path = FOLDER) -> str:
    """Return a page with each table below a mark as the file that the mark names has it."""

    def fill(match: re.Match[str]) -> str:
        mark, file, measure, methods = match.groups()
        return f"{mark}\n\n{table(json.loads((folder / file).read_text())['runs'], measure, methods.split())}"

    return _TABLE.sub(fill, text)


def table(runs: Sequence[Run], measure: str, methods: Sequence[str] = ()) -> str:
    """Return a measure's table: a row a method, a column a run; without methods all that have it."""
    every = list(dict.fromkeys(method["name"] for run in runs for method in run["methods"]))
    cells = {name: [_cell(run, measure, name) for run in runs] for name in methods or every}
    there = {name: row for name, row in cells.items() if set(row) != {"–"}}
    head = [_LABELS[measure], *(run["name"] for run in runs)]
    rows = [_line(head), "|---" * len(head) + "|", *(_line([METHODS[name].label, *row]) for name, row in there.items())]
    return "\n".join(rows) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(run: Run, measure: str, name: str) -> str:
    method = next((method for method in run["methods"] if method["name"] == name), {})
    values = method.get(measure)
    if values is None or (measure == "strength" and len(METHODS[name].strengths) < 2):
        return "–"
    if measure == "strength":
        return number_text(values)
    mean, both = _number(fmean(values)), [_number(value) for value in sorted(values)]
    return mean if both[0] == both[-1] else f"{mean} [{', '.join(both)}]"


def _number(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".replace("-", "−")


def extract(folder: Path, name: str) -> dict[str, Any]:
    """Return what a file of values holds of one arena: each measure of each method, one value a training."""
    arena = json.loads((folder / "arena.json").read_text())
    methods = [
        {"name": method["name"], "strength": method["strength"]}
        | {measure: _rounded(found["values"]) for measure, found in method["measures"].items()}
        for method in arena["methods"]
    ]
    embeddings = {measure: _rounded(value) for measure, value in arena["embeddings"].items()}
    return {"name": name, "pairs": arena["pairs"], "embeddings": embeddings, "methods": methods}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, _KEPT_DECIMALS) if isinstance(value, float) else value


def main(arguments: Sequence[str]) -> None:
    """Write a file of values, or the pages' tables."""
    if not arguments:
        for page in FOLDER.glob("*.md"):
            page.write_text(filled(page.read_text()))
        return
    file, *folders = arguments
    runs = [extract(Path(folder), name) for name, _, folder in (each.partition("=") for each in folders)]
    text = json.dumps({"values": "one a training", "runs": runs}, indent=1, ensure_ascii=False)
    Path(file).write_text(_LIST.sub(lambda match: json.dumps(json.loads(match[0])), text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
