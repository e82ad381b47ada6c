"""One step of a graph: what it is (function, config, inputs, code) apart from how it is run (CPUs, GPUs, memory)."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import isoenergy
from isoenergy.storage.files import absolute_uri
from workflows.steps.import_closure import SourceTree

RECORD_FILE = "step.json"
NO_RECORD = (FileNotFoundError, NotADirectoryError, ValueError)
"""What reading a record raises where nothing whole lies."""

StepFunction = Callable[[Any, Mapping[str, Path], Path], dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """One node: `function(config, input folders, output folder)` returns a JSON result.

    The parts of a map are steps whose names end in a number: `codes/00000`, `codes/00001`.
    """

    name: str
    function: StepFunction
    config: Any
    """A frozen dataclass, or None; fields marked `identity=False` do not make the step another one."""
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    cpus: float = 1
    """How many it can use, hence its threads; it is run on fewer where no node has as many."""
    gpus: float = 0
    gpus_if_any: float = 0
    """How many it can use; it is run without where no node has as many beside the memory."""
    memory: int = 0
    """The most that it takes, in bytes: no node is given steps that take more together than it has. 0: not counted."""

    def __post_init__(self) -> None:
        asked = self.cpus, self.gpus, self.gpus_if_any, self.memory
        if min(asked) < 0:
            raise ValueError(f"step {self.name} asks for less than nothing: {', '.join(map(str, asked))}")

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what the step is."""
        what = {
            "name": self.name,
            "function": self.made_by,
            "config": _identity(self.config),
            "inputs": {name: needed.fingerprint for name, needed in self.inputs.items()},
            "code": code_version(self.function.__module__),
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def made_by(self) -> str:
        """Name of the function, with its module."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def folder(self) -> str:
        """Name of the folder with its result."""
        return f"{self.name.replace('/', '-')}-{self.fingerprint}"

    def fixed(self, root: str | Path) -> "FixedStep":
        """Return it as it is sent to where it runs; root: folder or fsspec URL below which the results lie."""
        return FixedStep(
            name=self.name,
            function=self.function,
            config=self.config,
            identity=_identity(self.config),
            fingerprint=self.fingerprint,
            root=absolute_uri(str(root)),
            folder=self.folder,
            inputs={name: needed.folder for name, needed in self.inputs.items()},
            input_fingerprints={name: needed.fingerprint for name, needed in self.inputs.items()},
            code=code_version(self.function.__module__),
        )


@dataclass(frozen=True)
class FixedStep:
    """A step with everything decided by the process that planned it: code that changes meanwhile moves no folder."""

    name: str
    function: StepFunction
    config: Any
    identity: Any
    """What of the config makes the step what it is, as JSON values."""
    fingerprint: str
    root: str
    """Absolute folder or fsspec URL."""
    folder: str
    """Where its result goes, below the root."""
    inputs: Mapping[str, str]
    """Where those of its inputs lie, below the root."""
    input_fingerprints: Mapping[str, str]
    code: str


@dataclass(frozen=True)
class PlannedStep:
    """A step and whether it has to be run."""

    step: Step
    due: bool
    seconds: float | None = None
    """What it took, if it is done."""


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Gather the parts of each map under its name (`codes` for `codes/00000` …), any other step under its own.

    A map whose name a step has too goes by `codes/*`.
    """
    names = list(names)
    taken = set(names)
    groups: dict[str, list[str]] = {}
    for name in names:
        part = re.fullmatch(r"(.+)/\d+", name)
        group = name if part is None else f"{part[1]}/*" if part[1] in taken else part[1]
        groups.setdefault(group, []).append(name)
    return groups


@cache
def code_version(module: str) -> str:
    """Return a digest of the source of a step function's module and of all that it imports, however deep.

    A result is only as old as the code that made it: what counts is the science layer, and the package that the
    function is in.
    """
    tree = _sources(module.partition(".")[0])
    digest = hashlib.sha256()
    for name in sorted(tree.closure(module)):
        if (file := tree.file(name)) is not None:
            digest.update(f"{name}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def _sources(package: str) -> SourceTree:
    """Return the science layer's source and that of a package, as this process has them."""
    roots = {"isoenergy": Path(isoenergy.__file__).parent}
    if package not in roots:
        module = sys.modules[package]
        place = next(iter(getattr(module, "__path__", ())), None) or module.__file__
        if place is not None:  # a notebook's functions are in no file
            roots[package] = Path(place)
    return SourceTree(roots)


def forget_code() -> None:
    """Read the source anew when it is asked for next: as a worker does that starts now."""
    code_version.cache_clear()
    _sources.cache_clear()


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
