import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import isoenergy
from isoenergy.errors import InputError
from isoenergy.evaluation.atom_map import write_atom_map
from tests.workflows.steps.number_steps import (
    Number,
    add,
    due,
    fail,
    fail_at_input,
    read,
    run,
    sum_of_parts,
    sum_of_two,
)
from workflows.steps import step_execution, step_plan
from workflows.steps.step import Step, forget_code


def test_inputs_run_first_and_done_steps_are_skipped(tmp_path: Path) -> None:
    assert due(sum_of_two(), tmp_path) == ["read/a", "read/b", "sum"]
    run(sum_of_two(), tmp_path)
    assert step_plan.result(sum_of_two(), tmp_path) == {"sum": 21}
    assert due(sum_of_two(), tmp_path) == []


def test_a_changed_config_is_another_step(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    assert due(sum_of_two(first=2), tmp_path) == ["read/a", "sum"]
    run(sum_of_two(first=2), tmp_path)
    assert step_plan.result(sum_of_two(first=2), tmp_path) == {"sum": 22}
    assert step_plan.result(sum_of_two(), tmp_path) == {"sum": 21}


def test_where_something_lies_and_how_it_is_run_do_not_matter() -> None:
    step = Step("read", read, Number(1))
    assert step.fingerprint == Step("read", read, Number(1, "elsewhere"), cpus=8, gpus=1, memory=2**40).fingerprint
    assert step.fingerprint != Step("read", add, Number(1)).fingerprint
    assert step.fingerprint != replace(step, config=Number(2)).fingerprint


def test_less_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="read asks for less than nothing"):
        Step("read", read, Number(1), memory=-1)


def test_force_redoes_a_step_and_what_follows(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    assert due(sum_of_two(), tmp_path, ("read/b",)) == ["read/b", "sum"]
    (tmp_path / sum_of_two().folder / "stale").write_text("")
    run(sum_of_two(), tmp_path, ("read/b",))
    assert not (tmp_path / sum_of_two().folder / "stale").exists()
    with pytest.raises(InputError, match="no step is called nothing; the steps are read/a, read/b, sum"):
        due(sum_of_two(), tmp_path, ("nothing",))


def test_only_plans_what_matches_and_what_it_needs(tmp_path: Path) -> None:
    first, second = sum_of_parts(3, "first/"), sum_of_parts(2, "second/")
    both = [first, second, Step("both", read, Number(1), {"first": first, "second": second})]

    def names(*only: str) -> list[str]:
        return [item.step.name for item in step_plan.plan(both, tmp_path, only=only)]

    assert names("second/sum") == ["second/numbers/00000", "second/numbers/00001", "second/sum"]
    assert names("*/sum") == [name for name in names() if name != "both"]
    assert names("first/numbers") == ["first/numbers/00000", "first/numbers/00001", "first/numbers/00002"]
    assert names("*/numbers/00001") == ["first/numbers/00001", "second/numbers/00001"]
    assert names("both") == names()
    with pytest.raises(InputError) as error:
        names("first/sum", "*/geometry")
    assert str(error.value) == (
        "no step is called */geometry; the steps are first/numbers/00000 … 00002, first/sum, "
        "second/numbers/00000 … 00001, second/sum, both"
    )


def test_force_takes_patterns_and_must_match_what_is_planned(tmp_path: Path) -> None:
    target = sum_of_parts(3)
    run(target, tmp_path)
    assert due(target, tmp_path, force=("numb*",)) == due(target, tmp_path, force=("numbers",))
    assert len(due(target, tmp_path, force=("numbers",))) == 4
    assert due(target, tmp_path, force=("numbers/00001",), only=("numbers",)) == ["numbers/00001"]
    with pytest.raises(InputError, match="no step is called sum; the steps are numbers/00000 … 00002"):
        due(target, tmp_path, force=("sum",), only=("numbers",))


def test_a_name_with_brackets_is_a_name_and_not_only_a_pattern(tmp_path: Path) -> None:
    step = Step("sae[1]/read", read, Number(1))
    run(step, tmp_path)
    assert due(step, tmp_path, force=("sae[1]/read",)) == ["sae[1]/read"]


def test_what_was_made_of_an_input_that_was_made_again_is_made_again(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    run(sum_of_two(), tmp_path, force=("read/b",), only=("read/b",))
    assert due(sum_of_two(), tmp_path) == ["sum"]
    run(sum_of_two(), tmp_path)
    assert due(sum_of_two(), tmp_path) == []


def test_a_result_whose_input_is_gone_is_made_again_with_it(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    shutil.rmtree(tmp_path / sum_of_two().inputs["a"].folder)
    assert due(sum_of_two(), tmp_path) == ["read/a", "sum"]


@pytest.mark.parametrize("left", ["", "{", "[]", "null", '{"provenance": {}}'])
def test_a_record_that_is_not_whole_is_none(tmp_path: Path, left: str) -> None:
    run(sum_of_two(), tmp_path)
    (tmp_path / sum_of_two().folder / "step.json").write_text(left)
    assert due(sum_of_two(), tmp_path) == ["sum"]
    run(sum_of_two(), tmp_path)
    assert step_plan.result(sum_of_two(), tmp_path) == {"sum": 21}


def test_two_steps_of_one_name_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    same = Step("x", add, None, {"a": Step("read", read, Number(1)), "b": Step("read", read, Number(1, "there"))})
    assert due(same, tmp_path) == ["read", "x"]
    other = Step("x", add, None, {"a": Step("read", read, Number(1)), "b": Step("read", read, Number(2))})
    with pytest.raises(ValueError, match="two different steps are called read"):
        due(other, tmp_path)


def test_a_graph_with_more_paths_than_can_be_walked_is_planned(tmp_path: Path) -> None:
    step = Step("0", read, Number(0))
    for level in range(1, 100):
        step = Step(f"level {level}", add, None, {"left": step, "right": step})
    assert len(due(step, tmp_path)) == 100


def test_a_failed_step_leaves_nothing(tmp_path: Path) -> None:
    step = Step("fail", fail, None)
    with pytest.raises(RuntimeError, match="no luck"):
        run(step, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert due(step, tmp_path) == ["fail"]


def test_what_does_not_need_a_failed_step_is_finished(tmp_path: Path) -> None:
    bad = Step("bad", fail_at_input, None)
    after = Step("after", add, None, {"bad": bad, **sum_of_two().inputs})
    target = Step("last", add, None, {"after": after, "other": sum_of_two()})
    with pytest.raises(InputError, match="step bad: there is no such SAE"):
        run(target, tmp_path)
    assert due(target, tmp_path) == ["bad", "after", "last"]


def test_a_result_that_is_no_json_is_an_error_that_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(step_plan.StepError, match="step odd: TypeError"):
        run(Step("odd", odd_result, None), tmp_path)
    assert due(Step("odd", odd_result, None), tmp_path) == ["odd"]


def odd_result(*_: object) -> dict:
    return {"not": object()}


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    planned = step_plan.plan([sum_of_two()], tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert step_plan.describe(planned).count(" run") == 3


def test_the_record_says_what_was_run(tmp_path: Path) -> None:
    run(sum_of_two(), tmp_path)
    record = json.loads((tmp_path / sum_of_two().folder / "step.json").read_text())
    assert record["inputs"] == {name: step.fingerprint for name, step in sum_of_two().inputs.items()}
    assert {"git_commit", "versions", "seconds", "code"} <= set(record["provenance"])


def test_a_config_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="can be told apart"):
        _ = Step("x", read, replace(Number(1), value=object())).fingerprint  # type: ignore[arg-type]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the science layer, whose code counts instead."""
    copy = tmp_path / "isoenergy"
    shutil.copytree(Path(isoenergy.__file__).parent, copy, ignore=shutil.ignore_patterns("bundled", "__pycache__"))
    monkeypatch.setattr(isoenergy, "__file__", str(copy / "__init__.py"))
    forget_code()
    yield copy
    forget_code()


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("evaluation/atom_map.py", True),
        ("evaluation/__init__.py", True),
        ("sparse_encoders/top_k.py", True),  # imported within a function
        ("codes/sparse_codes.py", True),  # by a name that a package offers
        ("pairs/formats/tar.py", False),
        ("encoders/open_clip_encoder.py", False),
        ("report/page/page.py", False),
        ("evaluation/dictionary.py", False),
    ],
)
def test_a_step_is_another_when_code_that_it_needs_changes_and_only_then(
    package: Path, file: str, counts: bool
) -> None:
    before = Step("map", write_atom_map, Number(1)).fingerprint
    (package / file).write_text(f"{(package / file).read_text()}\n# a comment\n")
    forget_code()
    assert (Step("map", write_atom_map, Number(1)).fingerprint != before) == counts


def test_a_functions_own_package_counts_beside_the_science(package: Path) -> None:
    before = Step("read", read, Number(1)).fingerprint
    (package / "objective.py").write_text("")  # the tests' steps need none of it
    forget_code()
    assert Step("read", read, Number(1)).fingerprint == before
    (package / "errors.py").write_text("")
    forget_code()
    assert Step("read", read, Number(1)).fingerprint != before


def test_code_that_changes_during_a_run_does_not_break_it_and_is_not_taken_for_the_planned(
    tmp_path: Path, package: Path
) -> None:
    root, target = tmp_path / "root", sum_of_two()
    old = (package / "errors.py").read_text()
    a, b, total = (item.step.fixed(root) for item in step_plan.plan([target], root))
    step_execution.execute(a)
    (package / "errors.py").write_text(f"{old}\n# changed\n")
    forget_code()  # as in a worker that starts now
    for step in (b, total):
        step_execution.execute(step)
    assert step_plan.result(target, root) == {"sum": 21}
    assert due(sum_of_two(), root) == ["read/a", "read/b", "sum"]
    (package / "errors.py").write_text(old)
    forget_code()
    assert due(sum_of_two(), root) == ["read/b", "sum"]
