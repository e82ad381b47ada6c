"""Tables of the arena's smaller runs, from the values beside them.

`python -m tests.docs.arena_tables` writes every table of docs/arena that stands below a comment such as
`<!-- table layers.json agreement sae matched -->` anew: a measure of a file, of these methods or of all that have it.
`strength` is what validation pairs chose, `validation` what they chose it by, and `embeddings` what the rows have.
`python -m tests.docs.arena_tables FILE NAME=FOLDER ...` writes such a file from the folders of arenas, in that order.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isoenergy.arena.roster import METHODS
from isoenergy.report.arena.arena_measures import MEASURES
from isoenergy.report.synthetic.over_seeds import mean_of_few
from isoenergy.settings.variants import number_text

FOLDER = Path(__file__).parents[2] / "docs/arena"
KEPT = (
    *("r2_centred", "l0", "dead_atoms", "bimodal_energy", "agreement", "agreement_fitted", "agreeing"),
    *("codes_r@10", "direction_cosine", "gap_closed", "mms", "mms_coded", "translation_r2", "found", "joined"),
)
"""Measures that a file of values has."""
_TABLE = re.compile(r"^(<!-- table (\S+) (\S+)((?: \S+)*) -->)\n\n(?:(?:\|.*\n)+\n)?", re.MULTILINE)
_LIST = re.compile(r"\[[-\d.,\se]+\]")
_LABELS = {measure.name: measure.label for measure in MEASURES} | {
    "strength": "strength that was chosen",
    "validation": "R@10 by codes (R², centred) of validation pairs",
    "embeddings": "the rows",
    "gap": "gap",
    "r@10": "R@10, images' texts",
}
_DECIMALS, _KEPT_DECIMALS = 3, 5

Run = Mapping[str, Any]


def filled(text: str, folder: Path = FOLDER) -> str:
    """Return a page with each table below a mark as the file that the mark names has it."""

    def fill(match: re.Match[str]) -> str:
        mark, file, measure, methods = match.groups()
        return f"{mark}\n\n{table(json.loads((folder / file).read_text())['runs'], measure, methods.split())}\n"

    return _TABLE.sub(fill, text)


def table(runs: Sequence[Run], measure: str, methods: Sequence[str] = ()) -> str:
    """Return a measure's table: a row a method, a column a run; without methods all that have it."""
    if measure == "embeddings":
        return _table(measure, runs, {_LABELS[n]: [_number(run["embeddings"][n]) for run in runs] for n in methods})
    every = list(dict.fromkeys(method["name"] for run in runs for method in run["methods"]))
    cells: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        for name in methods or every:
            for label, cell in _cells(run, measure, name).items():
                cells.setdefault(label, ["–"] * len(runs))[number] = cell
    return _table(measure, runs, cells)


def _table(measure: str, runs: Sequence[Run], cells: Mapping[str, Sequence[str]]) -> str:
    head = [_LABELS[measure], *(run["name"] for run in runs)]
    rows = [_line(head), "|---" * len(head) + "|", *(_line([label, *row]) for label, row in cells.items())]
    return "\n".join(rows) + "\n"


def _cells(run: Run, measure: str, name: str) -> dict[str, str]:
    """Return what a run has in a method's rows, by label."""
    label, weighed = METHODS[name].label, len(METHODS[name].strengths) > 1
    method = next((method for method in run["methods"] if method["name"] == name), {})
    if measure == "validation":
        found = {f"{label}, {number_text(s['strength'])}" if weighed else label: s for s in method.get(measure, [])}
        return {of: f"{_number(s['codes_r@10'])} ({_number(s['r2_centred'])})" for of, s in found.items()}
    if measure not in method or (measure == "strength" and not weighed):
        return {}
    return {label: number_text(method[measure]) if measure == "strength" else _mean(method[measure])}


def _mean(values: Sequence[float]) -> str:
    """Return the mean with half of its interval; of fewer than three values, which have none, with all of them."""
    found, each = mean_of_few(values), [_number(value) for value in sorted(values)]
    mean, high = found["mean"], found["high"]
    assert mean is not None
    if each[0] == each[-1]:
        return _number(mean)
    return f"{_number(mean)} [{', '.join(each)}]" if high is None else f"{_number(mean)} ± {_number(high - mean)}"


def _number(value: float) -> str:
    return f"{value:.{_DECIMALS}f}".replace("-", "−")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def extract(folder: Path, name: str) -> dict[str, Any]:
    """Return what a file of values holds of one arena: measures of each method, one value a training."""
    arena = json.loads((folder / "arena.json").read_text())
    found = {"name": name, "pairs": arena["pairs"], "embeddings": arena["embeddings"]}
    return _rounded(found | {"methods": [_of_method(method) for method in arena["methods"]]})


def _of_method(method: Mapping[str, Any]) -> dict[str, Any]:
    of_strengths = [
        {"strength": each["strength"], **{name: each["validation"][name] for name in ("r2_centred", "codes_r@10")}}
        for each in method["strengths"]
        if each["validation"]
    ]
    measures = {name: method["measures"][name]["values"] for name in KEPT if name in method["measures"]}
    return {"name": method["name"], "strength": method["strength"], "validation": of_strengths, **measures}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
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
    runs = [extract(Path(folder), name) for name, _, folder in (each.rpartition("=") for each in folders)]
    text = json.dumps({"values": "one a training", "runs": runs}, indent=1, ensure_ascii=False)
    Path(file).write_text(_LIST.sub(lambda match: json.dumps(json.loads(match[0])), text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
