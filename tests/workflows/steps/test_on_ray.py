import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import ray

from isoenergy.errors import InputError
from tests.workflows.steps.number_steps import (
    Marker,
    Number,
    add,
    be_killed,
    be_killed_once,
    count_threads,
    due,
    fail,
    fail_at_input,
    read,
    run,
    sum_of_parts,
    sum_of_two,
    take_a_while,
    wait_for,
)
from workflows.steps import on_ray, step_plan, step_progress
from workflows.steps.step import Step
from workflows.steps.step_storage import storage_at

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def run_on_ray(target: Step, root: Path, **choice: Any) -> None:
    on_ray.run_on_ray(step_plan.plan([target], root, **choice), root, "test")


def test_a_graph_on_ray_gives_what_it_gives_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "_IN_FLIGHT", 3)
    target = Step("all", add, None, {**sum_of_parts(10).inputs, **sum_of_two().inputs})
    run(target, tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    run_on_ray(target, Path("there"))
    assert step_plan.result(target, Path("there")) == step_plan.result(target, tmp_path / "here") == {"sum": 66}
    assert due(target, Path("there")) == []
    run_on_ray(target, Path("there"), force=("numbers/00003",))
    assert list((tmp_path / "there").glob(".step-*")) == []


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = Step("sae-1/bad", fail, None)
    after = Step("after", add, None, {"bad": bad, **sum_of_two().inputs})
    slow = Step("slow", take_a_while, Number(1))
    target = Step("last", add, None, {"after": after, "slow": slow, "other": sum_of_two()})
    with pytest.raises(step_plan.StepError, match="step sae-1/bad: RuntimeError: no luck"):
        run_on_ray(target, tmp_path)
    assert due(target, tmp_path) == ["sae-1/bad", "after", "last"]
    assert list(tmp_path.glob(".step-*")) == []
    said = capfd.readouterr().err
    assert "test: step sae-1/bad failed; those that do not need it go on" in said
    assert "step after" not in said


def test_bad_input_of_a_step_is_bad_input_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        run_on_ray(Step("sae-1/bad", fail_at_input, None), tmp_path)
    assert str(error.value) == "step sae-1/bad: there is no such SAE"
    assert "fail_at_input" in str(error.value.__cause__)


def test_a_step_whose_worker_is_killed_is_tried_again(tmp_path: Path) -> None:
    lost = Step("lost", be_killed_once, Marker(str(tmp_path / "marker")))
    target = Step("total", add, None, {"lost": lost, **sum_of_two().inputs})
    root = tmp_path / "root"
    run_on_ray(target, root)
    assert step_plan.result(target, root) == {"sum": 25}
    result = step_plan.result(lost, root)
    assert result["killed"] != result["survived"]
    assert len(list(root.glob(".step-lost-*"))) == 1
    run_on_ray(target, root, force=("total",))
    assert list(root.glob(".step-*")) == []


def test_a_step_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    deadly = Step("deadly", be_killed, None)
    with pytest.raises(step_plan.StepError, match="step deadly: WorkerCrashedError"):
        run_on_ray(Step("sum", add, None, {"deadly": deadly, **sum_of_two().inputs}), tmp_path)
    assert due(sum_of_two(), tmp_path) == ["sum"]


def test_what_no_node_can_hold_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    huge = Step("huge", add, None, sum_of_two().inputs, memory=2**60)
    with pytest.raises(
        InputError, match=r"step huge asks for 0 GPUs and 1073741824[.]00 GiB of memory, and the largest"
    ):
        run_on_ray(huge, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_step_computes_on_as_many_threads_as_it_has_cpus(tmp_path: Path) -> None:
    most = max(int(node["Resources"]["CPU"]) for node in ray.nodes() if node["Alive"])
    previous, counts = {}, [1, 2, 1, 10_000, 0.5]
    for number, cpus in enumerate(counts):  # one after the other, in workers that were used before
        previous = {"previous": Step(f"count/{number}", count_threads, Number(number), previous, cpus=cpus)}
    run_on_ray(previous["previous"], tmp_path)
    step: Step | None = previous["previous"]
    for cpus in reversed(counts):
        assert step is not None
        expected = max(1, min(int(cpus), most))
        result = step_plan.result(step, tmp_path)
        assert result["torch"] == expected
        assert set(result["libraries"]) == {expected}
        step = step.inputs.get("previous")


def test_steps_that_take_more_memory_together_than_a_node_has_take_turns(tmp_path: Path) -> None:
    most = max(node["Resources"]["memory"] for node in ray.nodes() if node["Alive"])
    turns = [Step(f"turn/{n}", take_a_while, Number(n), cpus=0.1, memory=int(0.6 * most)) for n in range(3)]
    run_on_ray(Step("end", read, Number(0), {step.name: step for step in turns}), tmp_path)
    times = sorted((r["began"], r["ended"]) for r in (step_plan.result(step, tmp_path) for step in turns))
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with storage_at(tmp_path).alone(), pytest.raises(InputError, match="another run is at work"):
        run_on_ray(sum_of_two(), tmp_path)


def test_a_run_shows_what_is_at_work_and_leaves_no_task_behind_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    marker, seen = tmp_path / "marker", list[str]()
    waits = Step("a-long-name-of-an-sae-and-then-some-more-1a2b3c/waits", wait_for, Marker(str(marker)))

    in_brief = step_progress._in_brief

    def interrupt(names: list[str]) -> str:
        if seen and Path(f"{marker}.begun").exists():
            raise KeyboardInterrupt
        seen[:] = names
        return in_brief(names)

    monkeypatch.setattr(step_progress, "_in_brief", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_on_ray(waits, tmp_path / "root")
    assert seen == [waits.name]
    assert "…-name-of-an-sae-and-then-some-more-1a2b3c/waits" in capfd.readouterr().err
    marker.write_text("")
    time.sleep(1)
    assert due(waits, tmp_path / "root") == [waits.name]


def test_workers_have_imported_what_they_need_when_steps_are_planned() -> None:
    on_ray.begin_workers(["wave"])
    has_imported = ray.remote(num_cpus=1)(lambda: "wave" in __import__("sys").modules)
    until = time.monotonic() + 120
    while not ray.get(has_imported.remote()):
        assert time.monotonic() < until
