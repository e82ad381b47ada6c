"""When a report that is there counts as drawn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workflows.evaluation.drawn_report import Ingredients, drawn_before, keep_record

SUMMARY: dict[str, Any] = {
    "saes": [{"name": "a", "explorer": "steps/a-explorer-1"}, {"atom_map": "steps/a-map-1"}],
    "graph": [{"name": "a/map", "state": "ran"}],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An evaluation with two tables, and a page with a figure beside it."""
    for step in ("a-explorer-1", "a-map-1", "not-shown-1"):
        folder = tmp_path / "evaluation" / "steps" / step
        folder.mkdir(parents=True)
        (folder / "some.parquet").write_bytes(step.encode())
        (folder / "step.json").write_text("{}")
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "figures").mkdir()
    for name in ("report.html", "figures/gaps.png"):
        (tmp_path / name).write_text(name)
    return tmp_path


def ingredients(run: Path) -> Ingredients:
    file = run / "evaluation" / "evaluation.json"
    return Ingredients.of(str(file), json.loads(file.read_text()))


def is_drawn(run: Path) -> bool:
    return bool(drawn_before(f"{run}/report.html", ingredients(run)))


def keep(run: Path) -> list[str]:
    made = [f"{run}/report.html", f"{run}/figures/gaps.png"]
    keep_record(made[0], ingredients(run), made)
    return made


def test_it_is_while_nothing_changes_and_wherever_all_of_it_is_moved(run: Path) -> None:
    assert not is_drawn(run)
    assert drawn_before(f"{run}/report.html", ingredients(run)) == []
    assert keep(run) == drawn_before(f"{run}/report.html", ingredients(run))
    moved = run.rename(run.with_name("moved"))
    assert drawn_before(f"{moved}/report.html", ingredients(moved)) == [
        f"{moved}/report.html",
        f"{moved}/figures/gaps.png",
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "evaluation/evaluation.json").write_text(json.dumps({**SUMMARY, "seed": 1})),
        lambda run: (run / "evaluation/steps/a-map-1/some.parquet").write_text("other"),
        lambda run: (run / "evaluation/steps/a-map-1/some.parquet").unlink(),
        lambda run: (run / "figures/gaps.png").write_text("half"),
        lambda run: (run / "figures/gaps.png").unlink(),
        lambda run: (run / "report.html").write_text(""),
        lambda run: (run / "report.html.made-of.json").write_text("{"),
    ],
    ids=["evaluation", "table", "no-table", "figure", "no-figure", "page", "record"],
)
def test_it_is_not_once_anything_is_another(run: Path, change: Callable[[Path], Any]) -> None:
    keep(run)
    assert is_drawn(run)
    change(run)
    assert not is_drawn(run)


def test_it_is_not_once_the_code_is_another(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(run)
    monkeypatch.setattr("workflows.evaluation.drawn_report.code_version", lambda _: "later")
    assert not is_drawn(run)


def test_what_it_does_not_show_and_which_steps_were_found_done_do_not_matter(run: Path) -> None:
    keep(run)
    repeated = {**SUMMARY, "graph": [{"name": "a/map", "state": "cached"}]}
    (run / "evaluation/evaluation.json").write_text(json.dumps(repeated))
    assert is_drawn(run)
    (run / "evaluation/steps/not-shown-1/some.parquet").write_text("other")
    assert is_drawn(run)
