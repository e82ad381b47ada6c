"""Running one step so that its result is there whole or not at all, whatever ends the process."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from isoenergy.errors import InputError
from workflows.steps.step import FixedStep, code_version
from workflows.steps.step_storage import storage_at
from workflows.tracking.code_version import git_commit

_LIBRARIES = ("isoenergy", "torch", "numpy", "scipy", "POT")


class StepError(RuntimeError):
    """A step failed; the message says which, and why."""


@dataclass(frozen=True)
class Made:
    """When, how long and of what a result was made."""

    started: float
    """Seconds since the epoch; no two results of a step have the same."""
    seconds: float
    code: str
    inputs: dict[str, float]
    """When each of the inputs was made."""

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> Self | None:
        """Return how a result was made, from its record; None if there is none, or not a whole one."""
        try:
            provenance = record["provenance"]  # type: ignore[index]  # None is a TypeError
            return cls(provenance["started"], provenance["seconds"], provenance["code"], provenance["inputs_started"])
        except (KeyError, TypeError):
            return None


def execute(step: FixedStep) -> None:
    """Run a step on local folders and put its result in its place when it is whole.

    Raises InputError if the function does, else StepError; both say which step failed.
    """
    try:
        _execute(step)
    except InputError as error:
        raise InputError(f"step {step.name}: {error}") from error
    except Exception as error:
        raise StepError(f"step {step.name}: {type(error).__name__}: {error}") from error


def _execute(step: FixedStep) -> None:
    started, clock = time.time(), time.perf_counter()
    storage = storage_at(step.root)
    with storage.inputs(set(step.inputs.values())) as found:

        def make(output: Path) -> dict[str, Any]:
            inputs = {name: found[folder][1] for name, folder in step.inputs.items()}
            result = step.function(step.config, inputs, output)
            return {
                "name": step.name,
                "fingerprint": step.fingerprint,
                "config": step.identity,
                "inputs": dict(step.input_fingerprints),
                "result": result,
                "provenance": {
                    **_software(),
                    "code": code_version(step.function.__module__),
                    "started": started,
                    "seconds": time.perf_counter() - clock,
                    "inputs_started": {
                        name: found[folder][0]["provenance"]["started"] for name, folder in step.inputs.items()
                    },
                },
            }

        storage.put(step, make)


@cache
def _software() -> dict[str, Any]:
    return {
        "git_commit": git_commit(),
        "machine": platform.machine(),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
