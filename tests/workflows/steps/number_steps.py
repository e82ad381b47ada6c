"""Steps that add numbers, and some that fail, wait or are killed."""

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info

from isoenergy.errors import InputError
from workflows.steps import step_plan
from workflows.steps.step import Step


@dataclass(frozen=True)
class Number:
    value: int
    where: str = field(default="here", metadata={"identity": False})


@dataclass(frozen=True)
class Marker:
    file: str = field(metadata={"identity": False})


def read(config: Number, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    (output / "number").write_text(str(config.value))
    return {"value": config.value}


def add(_config: None, inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    return {"sum": sum(int((folder / "number").read_text()) for folder in inputs.values())}


def fail(_config: None, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    (output / "half").write_text("")
    raise RuntimeError("no luck")


def fail_at_input(_config: None, _inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    raise InputError("there is no such SAE")


def wait_for(config: Marker, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Say that it has begun, and end once the marker file is there."""
    (output / "number").write_text("3")
    Path(f"{config.file}.begun").write_text("")
    while not Path(config.file).exists():
        time.sleep(0.01)
    return {}


def be_killed_once(config: Marker, _inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Be killed outright the first time, as by a kernel that is out of memory."""
    (output / "number").write_text("4")
    marker = Path(config.file)
    if not marker.exists():
        marker.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return {"killed": int(marker.read_text()), "survived": os.getpid()}


def be_killed(_config: None, _inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def count_threads(_config: Number, _inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    torch.ones(2).sum()
    return {"torch": torch.get_num_threads(), "libraries": [library["num_threads"] for library in threadpool_info()]}


def take_a_while(_config: Number, _inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    began = time.time()
    time.sleep(0.5)
    return {"began": began, "ended": time.time()}


def add_and_tell_where(config: Number, inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Take a while to add the number to that of the one input, and tell where that lies."""
    (folder,) = inputs.values()
    time.sleep(1)
    (output / "number").write_text(str(config.value + int((folder / "number").read_text())))
    return {"input": str(folder)}


def sum_of_two(first: int = 1) -> Step:
    a, b = Step("read/a", read, Number(first)), Step("read/b", read, Number(20))
    return Step("sum", add, None, {"a": a, "b": b})


def sum_of_parts(parts: int, prefix: str = "", **resources: Any) -> Step:
    """A map of `parts` steps, `numbers/00000` and so on, and its reduction."""
    numbers = {f"part-{n:05d}": Step(f"{prefix}numbers/{n:05d}", read, Number(n), **resources) for n in range(parts)}
    return Step(f"{prefix}sum", add, None, numbers)


def sum_with_a_wait(marker: Path) -> Step:
    waits = Step("waits", wait_for, Marker(str(marker)))
    return Step("total", add, None, {**sum_of_two().inputs, "waits": waits})


def run(target: Step, root: str | Path, force: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> None:
    step_plan.run_here(step_plan.plan([target], root, force, only), root)


def due(target: Step, root: str | Path, force: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> list[str]:
    return [item.step.name for item in step_plan.plan([target], root, force, only) if item.due]


if __name__ == "__main__":
    from tests.workflows.steps import number_steps

    run(number_steps.sum_with_a_wait(Path(sys.argv[2])), sys.argv[1])
