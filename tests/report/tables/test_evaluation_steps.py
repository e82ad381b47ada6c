"""The table of steps: one row a step with all that is told of it, and a page that is read without script."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from isoenergy.report.page.rendering import environment
from isoenergy.report.tables.evaluation_steps import step_rows

MEASURES = ("geometry", "retrieval", "exemplars", "projection", "interventions", "bootstrap", "gap", "bridges")
SAES = ("beta-0-1a2b3c", "beta-0.0005-9f8e7d", "a-rather-long-name-of-a-folder-aabbcc")


def node(name: str, inputs: Sequence[str] = (), parts: int = 1, state: str = "ran", seconds: float = 1.0) -> dict:
    function = f"isoenergy.evaluation.made.{name.rpartition('/')[2]}"
    return {
        "name": name,
        "inputs": list(inputs),
        "parts": parts,
        "state": state,
        "seconds": seconds,
        "function": function,
    }


def steps_of(sae: str, state: str) -> list[dict[str, Any]]:
    codes, statistics = f"{sae}/codes", f"{sae}/statistics"
    beside = {"retrieval": ["original"], "gap": ["original"]}
    measured = [node(f"{sae}/{name}", [codes, statistics, *beside.get(name, [])], 1, state, 70) for name in MEASURES]
    first = [node(codes, [], 1000, state, 8123.0), node(statistics, [codes], 1, state, 31.25)]
    return [*first, *measured, node(f"{sae}/verdict", [step["name"] for step in measured], 1, state, 0.001)]


def evaluation() -> list[dict[str, Any]]:
    shared = [node("sample", state="cached"), node("original", ["sample"], 4, "cached")]
    ends = node("comparison", [f"{sae}/verdict" for sae in SAES])
    return [*shared, *(step for n, sae in enumerate(SAES) for step in steps_of(sae, ("cached", "ran")[n % 2])), ends]


class Cells(HTMLParser):
    """The rows of a page's table: of each cell its tag, its attributes and its text, and the bars' widths."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, dict[str, str | None], str]]] = []
        self.bars: list[str | None] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append((tag, dict(attrs), ""))
        if dict(attrs).get("class") == "bar":
            self.bars.append(dict(attrs)["style"])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            tag, attributes, text = self.rows[-1][-1]
            self.rows[-1][-1] = tag, attributes, (text + data).strip()


def shown(nodes: Sequence[dict[str, Any]]) -> Cells:
    return Cells(environment().get_template("steps.html").render(steps=step_rows(nodes)))


def test_every_step_has_a_row_in_its_group_with_parts_function_and_time() -> None:
    groups = step_rows(evaluation())
    assert list(groups) == ["shared", *SAES]
    assert [row.name for row in groups["shared"]] == ["sample", "original", "comparison"]
    for sae in SAES:
        rows = {row.name: row for row in groups[sae]}
        assert list(rows) == ["codes", "statistics", *MEASURES, "verdict"]
        assert (rows["codes"].parts, rows["codes"].time) == (1000, "2 h 15 min")
        assert {rows[name].time for name in MEASURES} == {"1 min 10 s"}
        assert rows["verdict"].time == "< 0.1 s"
        assert rows["gap"].function == "evaluation.made.gap"


def test_the_state_says_what_ran() -> None:
    groups = step_rows(evaluation())
    assert {row.state for row in groups[SAES[1]]} == {"ran"}
    assert {row.state for row in groups[SAES[0]]} == {"was there already"}


def test_a_step_waits_for_what_no_other_of_its_inputs_needs() -> None:
    groups = step_rows(evaluation())
    rows = {row.name: row.waits_for for row in groups[SAES[0]]}
    assert rows["geometry"] == ["statistics"]
    assert rows["gap"] == ["statistics", "original"]
    assert rows["verdict"] == list(MEASURES)
    assert groups["shared"][2].waits_for == ["verdict of 3 SAEs"]
    two = step_rows([node("x/a"), node("y/b"), node("z/c", ["x/a", "y/b"])])
    assert two["z"][0].waits_for == ["x/a", "y/b"]


def test_an_input_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="gone is an input of a step"):
        step_rows([node("a", ["gone"])])


def test_an_evaluation_that_does_not_say_what_made_a_step_has_a_table() -> None:
    old = {key: value for key, value in node("a").items() if key != "function"}
    assert step_rows([old])["shared"][0].function == ""


def test_the_table_on_a_page_has_headers_of_columns_rows_and_groups() -> None:
    found = shown(evaluation())
    head, *rows = found.rows
    assert [(tag, its["scope"], text) for tag, its, text in head] == [
        ("th", "col", name) for name in ("step", "made by", "waits for", "time", "state")
    ]
    groups = [row for row in rows if len(row) == 1]
    assert [(row[0][0], row[0][1]["scope"], row[0][2]) for row in groups] == [
        ("th", "rowgroup", name) for name in ("shared", *SAES)
    ]
    steps = [row for row in rows if len(row) > 1]
    assert len(steps) == len(evaluation())
    assert {(row[0][0], row[0][1]["scope"], len(row)) for row in steps} == {("th", "row", 5)}
    codes = next(row for row in steps if row[0][2].startswith("codes"))
    assert [text for _, _, text in codes] == [
        "codes×1,000",
        "evaluation.made.codes",
        "",
        "2 h 15 min",
        "was there already",
    ]
    assert "script" not in found.tags
    assert "img" not in found.tags


def test_a_bar_is_as_long_as_the_time_beside_the_longest() -> None:
    found = shown([node("a", seconds=80), node("b", ["a"], seconds=20), node("c", seconds=0)])
    assert found.bars == ["width: 100.0%", "width: 25.0%", "width: 0.0%"]
    assert shown([node("a", seconds=0)]).bars == ["width: 0.0%"]


def test_a_name_is_text_and_nothing_else() -> None:
    page = environment().get_template("steps.html").render(steps=step_rows([node("<script>x</script>/<b>")]))
    assert not re.search(r"<script|<b>", page)
    assert "&lt;script&gt;x&lt;/script&gt;" in page or "&lt;script&gt;x&lt;" in page
