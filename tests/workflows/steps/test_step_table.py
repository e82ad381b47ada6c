import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.workflows.steps.number_steps import Number, add, fail, read, run, sum_of_parts, sum_of_two
from workflows.steps import step_plan
from workflows.steps.step import Step, grouped


def cells(table: str) -> dict[str, list[str]]:
    """Return the cells of each line but the first, by the first."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in table.splitlines()]
    return {first: rest for first, *rest in lines}


def test_a_table_has_a_line_for_each_step_or_map(tmp_path: Path) -> None:
    parts = sum_of_parts(32, "sae-1/", cpus=2, memory=3 * 2**30)
    last = Step("last", read, Number(1), {"parts": parts, "two": sum_of_two()}, cpus=0.5, gpus=1)
    for target in (parts.inputs[f"part-{n:05d}"] for n in (0, 7, 31)):
        run(target, tmp_path)
    run(sum_of_two(), tmp_path)
    table = cells(step_plan.describe(step_plan.plan([last], tmp_path)))
    assert list(table) == ["sae-1/numbers ×32", "sae-1/sum", "read/a", "read/b", "sum", "last"]
    assert table["sae-1/numbers ×32"][0] == "2 CPUs, 3.0 GiB"
    assert table["sae-1/numbers ×32"][-1] == "3 of 32 done"
    assert table["sae-1/sum"] == ["1 CPU", "after numbers", "run"]
    assert table["last"] == ["0.5 CPU, 1 GPU", "after sae-1/sum, sum", "run"]
    assert table["sum"][:2] == ["1 CPU", "after read/a, read/b"]
    assert table["sum"][-1] == "done"
    assert float(table["sum"][2].removesuffix(" s")) >= 0


def test_the_columns_of_a_table_are_aligned(tmp_path: Path) -> None:
    lines = step_plan.describe(step_plan.plan([sum_of_parts(3, "a-long-name/"), sum_of_two()], tmp_path)).splitlines()
    assert len({line.index("1 CPU") for line in lines}) == 1
    assert len({len(line) for line in lines}) == 1
    assert not any(line.endswith(" ") for line in lines)


def test_a_table_fits_its_terminal_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    needed = {f"input-{number}": Step(f"a-step/number-{number}-x", read, Number(number)) for number in range(12)}
    lines = step_plan.describe(step_plan.plan([Step("last", read, Number(1), needed)], tmp_path)).splitlines()
    assert max(map(len, lines)) <= 70
    whole = " ".join(" ".join(lines).split())
    assert all(f"a-step/number-{number}-x" in whole.partition("after ")[2] for number in range(12))
    assert sum(line.endswith(" run") for line in lines) == 13


def test_a_forced_step_is_to_be_run_and_what_it_took_is_not_told(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    table = cells(step_plan.describe(step_plan.plan([sum_of_two()], tmp_path, force=("sum",))))
    assert table["sum"] == ["1 CPU", "after read/a, read/b", "run"]


def test_a_plan_of_nothing_is_an_empty_table() -> None:
    assert step_plan.describe([]) == ""


def test_parts_are_told_from_steps_of_the_same_name() -> None:
    names = ["codes/00000", "codes/00001", "codes", "x/7", "seed-1", "12/all"]
    assert grouped(names) == {
        "codes/*": ["codes/00000", "codes/00001"],
        "codes": ["codes"],
        "x": ["x/7"],
        "seed-1": ["seed-1"],
        "12/all": ["12/all"],
    }


def test_a_graph_says_what_ran_and_how_long_everything_took(tmp_path: Path) -> None:
    parts = sum_of_parts(4, "sae-1/", cpus=2, memory=5)
    last = Step("last", read, Number(1), {"parts": parts, "two": sum_of_two()})
    run(parts.inputs["part-00001"], tmp_path)
    run(sum_of_two(), tmp_path)
    planned = step_plan.plan([last], tmp_path)
    step_plan.run_here(planned, tmp_path)
    nodes = {node.name: node for node in step_plan.graph(planned, tmp_path)}
    assert list(nodes) == ["sae-1/numbers", "sae-1/sum", "read/a", "read/b", "sum", "last"]
    assert {name: node.state for name, node in nodes.items()} == {
        "sae-1/numbers": "ran",
        "sae-1/sum": "ran",
        "read/a": "cached",
        "read/b": "cached",
        "sum": "cached",
        "last": "ran",
    }
    assert nodes["last"].inputs == ("sae-1/sum", "sum")
    assert nodes["last"].function == "tests.workflows.steps.number_steps.read"
    assert nodes["sae-1/sum"].inputs == ("sae-1/numbers",)
    numbers = nodes["sae-1/numbers"]
    assert (numbers.parts, numbers.cpus, numbers.gpus, numbers.memory) == (4, 2, 0, 5)
    records = [json.loads(file.read_text()) for file in tmp_path.glob("sae-1-numbers-*/step.json")]
    assert numbers.seconds == pytest.approx(sum(record["provenance"]["seconds"] for record in records))
    again = step_plan.graph(step_plan.plan([last], tmp_path), tmp_path)
    assert {node.state for node in again} == {"cached"}
    assert json.loads(json.dumps([asdict(node) for node in again]))[-1]["inputs"] == ["sae-1/sum", "sum"]


def test_a_part_that_needs_another_part_is_no_loop(tmp_path: Path) -> None:
    first = Step("chain/0", read, Number(1))
    second = Step("chain/1", add, None, {"first": first})
    run(second, tmp_path)
    (node,) = step_plan.graph(step_plan.plan([second], tmp_path), tmp_path)
    assert (node.name, node.parts, node.inputs) == ("chain", 2, ())


def test_a_step_that_failed_has_no_place_in_a_graph_of_what_was_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        step_plan.graph(step_plan.plan([Step("fail", fail, None)], tmp_path), tmp_path)
