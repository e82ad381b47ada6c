"""The arena's trainings as trials of Ray Tune, with steps that add, fail and are killed in their place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.tune

from isoenergy.errors import InputError
from tests.workflows.steps.number_steps import (
    Marker,
    Number,
    add,
    be_killed,
    be_killed_once,
    due,
    fail,
    fail_at_input,
    read,
    run,
)
from tune.arena_trials import run_trials
from workflows.steps import step_plan
from workflows.steps.step import Step
from workflows.steps.step_plan import StepError
from workflows.steps.step_storage import storage_at

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]

FIRST = Step("number", read, Number(1))


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[ray.tune.ResultGrid]:
    """What Ray Tune says that came of its trials, a grid a run."""
    found = []
    fit = ray.tune.Tuner.fit

    def remembered(self: ray.tune.Tuner) -> ray.tune.ResultGrid:
        found.append(fit(self))
        return found[-1]

    monkeypatch.setattr(ray.tune.Tuner, "fit", remembered)
    return found


def training(name: str, function: Any = add, config: Any = None, inputs: Mapping[str, Step] | None = None) -> Step:
    return Step(f"{name}/seed-0", function, config, {"number": FIRST} if inputs is None else inputs)


def run_all(steps: list[Step], root: Path) -> None:
    run(FIRST, root)
    run_trials(step_plan.plan(steps, root), str(root), "test")


def test_one_training_that_fails_does_not_cost_the_others(
    tmp_path: Path, grids: list[ray.tune.ResultGrid], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor one whose worker is killed, which is begun anew; Tune has a trial of each, and no more if it is run again."""
    root = tmp_path / "steps"
    lost = training("lost", be_killed_once, Marker(str(tmp_path / "marker")), {})
    bad, others = training("bad", fail), [training(f"good-{number}") for number in range(4)]
    with pytest.raises(StepError) as error:
        run_all([bad, *others, lost], root)
    assert str(error.value) == "step bad/seed-0: RuntimeError: no luck"
    assert "number_steps.py" in str(error.value.__cause__)
    assert "test: bad/seed-0 failed; the others go on" in capfd.readouterr().err
    assert all(step_plan.result(step, root) == {"sum": 1} for step in others)
    result = step_plan.result(lost, root)
    assert result["killed"] != result["survived"]
    (grid,) = grids
    assert [trial.config["training"] for trial in grid] == [bad.name, *(step.name for step in others), lost.name]
    assert [trial.error for trial in grid] == [None] * 6
    assert [bool(trial.metrics["failed"]) for trial in grid] == [True] + [False] * 5
    assert len({trial.metrics["pid"] for trial in grid}) < 6, "no worker was used twice"
    assert not (root / ".ray").exists()
    assert due(bad, root) == [bad.name]
    bad_input = training("input", fail_at_input)
    with pytest.raises(InputError) as input_error:
        run_all([bad_input, *others, lost], root)
    assert str(input_error.value) == "step input/seed-0: there is no such SAE"
    assert [trial.config["training"] for trial in grids[1]] == [bad_input.name]
    assert list(root.glob(".step-*")) == []


@pytest.mark.slow
def test_a_training_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    deadly, good = training("deadly", be_killed), training("good")
    with pytest.raises(StepError, match="step deadly/seed-0: ActorDiedError"):
        run_all([deadly, good], tmp_path)
    assert due(good, tmp_path) == []


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    planned = step_plan.plan([FIRST], tmp_path)
    with storage_at(tmp_path).alone(), pytest.raises(InputError, match="another run is at work"):
        run_trials(planned, str(tmp_path), "test")


def test_what_no_node_can_hold_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    huge = Step("huge", read, Number(1), gpus=1000)
    with pytest.raises(InputError, match="step huge asks for 1000 GPUs"):
        run_trials(step_plan.plan([huge], tmp_path / "steps"), str(tmp_path / "steps"), "test")
    assert not (tmp_path / "steps").exists()
