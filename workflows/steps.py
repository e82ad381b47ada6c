"""A graph of cached steps. What a step is (function, config, inputs, code) is apart from how it is run (CPUs)."""

import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import isoenergy
from isoenergy.errors import InputError

_RECORD_FILE = "step.json"
_LIBRARIES = ("isoenergy", "torch", "numpy", "scipy", "POT")

StepFunction = Callable[[Any, Mapping[str, Path], Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """One node: `function(config, input folders, output folder)` returns a JSON result."""

    name: str
    function: StepFunction
    config: Any
    """A frozen dataclass, or None; fields marked `identity=False` do not make the step another one."""
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    cpus: float = 1
    """How it is run, not what it is."""

    @property
    def fingerprint(self) -> str:
        """Digest of what the step is."""
        return _fingerprint(self)

    def folder(self, root: Path) -> Path:
        """Return where its result lies."""
        return root / f"{self.name.replace('/', '-')}-{self.fingerprint}"


@dataclass(frozen=True)
class PlannedStep:
    """A step and whether it has to be run."""

    step: Step
    due: bool


def plan(targets: Iterable[Step], root: Path, force: Collection[str] = ()) -> list[PlannedStep]:
    """Order the steps that `targets` need, inputs first. A step is due if it is not done, forced, or follows a due one.

    Raises InputError if `force` names a step that is not there.
    """
    order: dict[str, Step] = {}

    def visit(step: Step) -> None:
        for needed in step.inputs.values():
            visit(needed)
        order.setdefault(step.name, step)

    for target in targets:
        visit(target)
    unknown = set(force) - set(order)
    if unknown:
        raise InputError(f"no step is called {', '.join(sorted(unknown))}; the steps are {', '.join(order)}")
    due: dict[str, bool] = {}
    for name, step in order.items():
        done = (step.folder(root) / _RECORD_FILE).is_file()
        due[name] = not done or name in force or any(due[needed.name] for needed in step.inputs.values())
    return [PlannedStep(step, due[name]) for name, step in order.items()]


def describe(planned: list[PlannedStep]) -> str:
    """Return the plan as a table."""
    width = max(len(item.step.name) for item in planned)
    return "\n".join(
        f"{item.step.name:<{width}}  {item.step.fingerprint}  {'run' if item.due else 'done'}" for item in planned
    )


def run_step(step: Step, root: Path) -> str:
    """Run a step into a temporary folder and put that in its place when it is whole; return the step's name."""
    root.mkdir(parents=True, exist_ok=True)
    inputs = {name: needed.folder(root) for name, needed in step.inputs.items()}
    started = time.time()
    with tempfile.TemporaryDirectory(dir=root, prefix=".step-") as temporary:
        output = Path(temporary, "output")
        output.mkdir()
        result = step.function(step.config, inputs, output)
        record = {
            "name": step.name,
            "fingerprint": step.fingerprint,
            "config": _identity(step.config),
            "inputs": {name: needed.fingerprint for name, needed in step.inputs.items()},
            "result": result,
            "provenance": {
                "git_commit": _git_commit(),
                "started": started,
                "seconds": time.time() - started,
                "machine": platform.machine(),
                "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            },
        }
        (output / _RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
        place = step.folder(root)
        if place.exists():
            place.rename(Path(temporary, "replaced"))
        output.rename(place)
    return step.name


def result(step: Step, root: Path) -> dict[str, Any]:
    """Return the JSON result of a step that is done."""
    return json.loads((step.folder(root) / _RECORD_FILE).read_text())["result"]


def run_here(planned: list[PlannedStep], root: Path) -> None:
    """Run what is due, one after the other, in this process."""
    for item in planned:
        if item.due:
            run_step(item.step, root)


@cache
def code_version() -> str:
    """Return a digest of the science layer's source: a result is only as old as the code that made it."""
    package = Path(isoenergy.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        if "report" not in file.relative_to(package).parts and "bundled" not in file.relative_to(package).parts:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _fingerprint(step: Step) -> str:
    module = inspect.getmodule(step.function)
    what = {
        "name": step.name,
        "function": f"{module.__name__ if module else ''}.{step.function.__qualname__}",
        "config": _identity(step.config),
        "inputs": {name: needed.fingerprint for name, needed in step.inputs.items()},
        "code": code_version(),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _identity(value: Any) -> Any:
    """Return what of a config makes a step what it is, as JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _identity(getattr(value, item.name))
            for item in fields(value)
            if item.metadata.get("identity", True)
        }
    if isinstance(value, tuple | list):
        return [_identity(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(
        f"a step's config holds {value!r}; only dataclasses, tuples, text, numbers and None can be told apart"
    )


def _git_commit() -> str | None:
    folder = Path(isoenergy.__file__).parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
