"""Running one step so that its result is there whole or not at all, whatever ends the process."""

import contextlib
import errno
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import isoenergy
from isoenergy.errors import InputError
from workflows.step import FixedStep, code_version

_RECORD_FILE = "step.json"
_TEMPORARY = ".step-"
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
    def of(cls, folder: Path) -> Self | None:
        """Return how what lies in a step's folder was made; None if nothing whole lies there."""
        try:
            provenance = read_record(folder)["provenance"]
            return cls(provenance["started"], provenance["seconds"], provenance["code"], provenance["inputs_started"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a step that is done."""
    return json.loads((folder / _RECORD_FILE).read_text())


def execute(step: FixedStep) -> None:
    """Run a step into a temporary folder and put that in its place when it is whole.

    Raises InputError if the function does, else StepError; both say which step failed.
    """
    try:
        _execute(step)
    except InputError as error:
        raise InputError(f"step {step.name}: {error}") from error
    except Exception as error:
        raise StepError(f"step {step.name}: {type(error).__name__}: {error}") from error


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Keep other runs out of `root` for as long as this process lives, and clear away what killed ones left there.

    Where the filesystem has no locks no one is kept out, and nothing cleared away.

    Raises InputError if another run is at work in `root`.
    """
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w") as file:
        with contextlib.suppress(OSError):  # no locks here
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another run is at work in {root}; wait for it, or give another --output") from error
            for leftover in root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        yield


def at_work(root: Path, names: set[str]) -> list[str]:
    """Return which of the steps are being run at this moment, on any node."""
    temporaries = {entry.name.rpartition("-")[0] for entry in os.scandir(root) if entry.name.startswith(_TEMPORARY)}
    return sorted(name for name in names if _temporary(name) in temporaries)


def _temporary(name: str) -> str:
    return f"{_TEMPORARY}{name.replace('/', '-')}"


def _execute(step: FixedStep) -> None:
    started, clock = time.time(), time.perf_counter()
    inputs_started = {name: read_record(folder)["provenance"]["started"] for name, folder in step.inputs.items()}
    root = step.folder.parent
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=root, prefix=f"{_temporary(step.name)}-", ignore_cleanup_errors=True
    ) as temporary:
        output = Path(temporary, "output")
        output.mkdir()
        result = step.function(step.config, step.inputs, output)
        record = {
            "name": step.name,
            "fingerprint": step.fingerprint,
            "config": step.identity,
            "inputs": dict(step.input_fingerprints),
            "result": result,
            "provenance": {
                **_software(),
                "code": code_version(),
                "started": started,
                "seconds": time.perf_counter() - clock,
                "inputs_started": inputs_started,
            },
        }
        (output / _RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
        _put_in_place(output, step.folder, Path(temporary))


def _put_in_place(output: Path, place: Path, aside: Path) -> None:
    """Rename `output` to `place`, also where a task that was given up for lost puts its own there at this moment."""
    for attempt in range(100):
        with contextlib.suppress(FileNotFoundError):
            place.rename(aside / f"replaced-{attempt}")
        try:
            output.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return
    raise FileExistsError(f"{place} is taken again as often as it is emptied")


@cache
def _software() -> dict[str, Any]:
    return {
        "git_commit": _git_commit(),
        "machine": platform.machine(),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def _git_commit() -> str | None:
    folder = Path(isoenergy.__file__).parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
