import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from isoenergy.errors import InputError
from workflows import steps
from workflows.steps import Step


@dataclass(frozen=True)
class Number:
    value: int
    where: str = field(default="here", metadata={"identity": False})


def read(config: Number, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    (output / "number").write_text(str(config.value))
    return {"value": config.value}


def add(_config: None, inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    return {"sum": sum(int((folder / "number").read_text()) for folder in inputs.values())}


def fail(_config: None, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    (output / "half").write_text("")
    raise RuntimeError("no luck")


def graph(first: int = 1) -> Step:
    a, b = Step("read/a", read, Number(first)), Step("read/b", read, Number(20))
    return Step("sum", add, None, {"a": a, "b": b})


def due(target: Step, root: Path, force: tuple[str, ...] = ()) -> list[str]:
    return [item.step.name for item in steps.plan([target], root, force) if item.due]


def run(target: Step, root: Path, force: tuple[str, ...] = ()) -> None:
    steps.run_here(steps.plan([target], root, force), root)


def test_inputs_run_first_and_done_steps_are_skipped(tmp_path: Path) -> None:
    assert due(graph(), tmp_path) == ["read/a", "read/b", "sum"]
    run(graph(), tmp_path)
    assert steps.result(graph(), tmp_path) == {"sum": 21}
    assert due(graph(), tmp_path) == []


def test_a_changed_config_is_another_step(tmp_path: Path) -> None:
    run(graph(), tmp_path)
    assert due(graph(first=2), tmp_path) == ["read/a", "sum"]
    run(graph(first=2), tmp_path)
    assert steps.result(graph(first=2), tmp_path) == {"sum": 22}
    assert steps.result(graph(), tmp_path) == {"sum": 21}


def test_where_something_lies_and_how_it_is_run_do_not_matter() -> None:
    step = Step("read", read, Number(1))
    assert step.fingerprint == Step("read", read, Number(1, "elsewhere"), cpus=8).fingerprint
    assert step.fingerprint != Step("read", add, Number(1)).fingerprint


def test_force_redoes_a_step_and_what_follows(tmp_path: Path) -> None:
    run(graph(), tmp_path)
    assert due(graph(), tmp_path, ("read/b",)) == ["read/b", "sum"]
    (graph().folder(tmp_path) / "stale").write_text("")
    run(graph(), tmp_path, ("read/b",))
    assert not (graph().folder(tmp_path) / "stale").exists()
    with pytest.raises(InputError, match="no step is called nothing; the steps are read/a, read/b, sum"):
        due(graph(), tmp_path, ("nothing",))


def test_a_failed_step_leaves_nothing(tmp_path: Path) -> None:
    step = Step("fail", fail, None)
    with pytest.raises(RuntimeError, match="no luck"):
        run(step, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert due(step, tmp_path) == ["fail"]


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    planned = steps.plan([graph()], tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert steps.describe(planned).count(" run") == 3


def test_the_record_says_what_was_run(tmp_path: Path) -> None:
    run(graph(), tmp_path)
    record = json.loads((graph().folder(tmp_path) / "step.json").read_text())
    assert record["inputs"] == {name: step.fingerprint for name, step in graph().inputs.items()}
    assert {"git_commit", "versions", "seconds"} <= set(record["provenance"])


def test_a_config_that_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="can be told apart"):
        _ = Step("x", read, replace(Number(1), value=object())).fingerprint  # type: ignore[arg-type]
