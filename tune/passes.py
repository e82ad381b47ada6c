"""What is on record of a search: its plan, and of each pass its settings, its reports and how it ended.

A pass is one training of several trials, an SAE for each β and seed, on the same batches. All is JSON, in a folder or
below an fsspec URL, written whole; a search goes on from what is there.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from isoenergy.errors import InputError
from isoenergy.settings.differences import differing_fields
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.training_config import TrainingConfig

Status = Literal["finished", "stopped", "failed"]
CHECKPOINTS = "checkpoints"

_PLAN_FILE = "search.json"
_SETTINGS_FILE = "settings.json"
_REPORTS_FILE = "reports.json"
_OUTCOME_FILE = "outcome.json"
_TRACKED_FILE = "tracked.json"
_LATER: Mapping[str, Mapping[str, Any]] = {"training": asdict(TrainingConfig()), "space": {"bias_atoms": ["none"]}}
"""Settings of a plan that came later, by part."""


@dataclass(frozen=True)
class Report:
    """What the trials of a pass had come to after a part of the training."""

    part: int
    step: int
    seconds: float
    """Spent in training and measuring until then, by the attempt that got there."""
    measures: Mapping[str, Mapping[str, float]]
    """Validation measures of each SAE, by its name; `figures` in files."""

    def to_dict(self) -> dict[str, Any]:
        """Return what files hold."""
        return {"part": self.part, "step": self.step, "seconds": self.seconds, "figures": self.measures}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the report that a file holds."""
        return cls(values["part"], values["step"], values["seconds"], values["figures"])


@dataclass(frozen=True)
class Outcome:
    """How a pass ended."""

    status: Status
    """finished; stopped: early, by the scheduler; failed: none of its trials came to its end."""
    reason: str = ""


@dataclass(frozen=True)
class PassRecord:
    """All that is on record of a pass."""

    id: str
    training: TrainingConfig
    chosen: Mapping[str, Any]
    """What the search chose, but β."""
    reports: tuple[Report, ...] = ()
    diverged: Mapping[str, str] = field(default_factory=dict)
    """What was said of each SAE whose loss or weights were not finite: the others were trained without it."""
    outcome: Outcome | None = None
    """None: it has not ended."""

    @property
    def saes_by_beta(self) -> dict[float, list[str]]:
        """The SAEs of each β, one a seed."""
        names: dict[float, list[str]] = {}
        for name, beta in zip(self.training.names, self.training.betas * self.training.seeds, strict=True):
            names.setdefault(beta, []).append(name)
        return names

    def measures_of(self, report: Report) -> dict[float, dict[str, float]]:
        """Return the measures of each β in a report, means over seeds; a β has none if one of its SAEs has not."""
        found = {}
        for beta, names in self.saes_by_beta.items():
            if all(name in report.measures for name in names):
                keys = report.measures[names[0]]
                found[beta] = {key: sum(report.measures[name][key] for name in names) / len(names) for key in keys}
        return found

    def last_measures(self) -> dict[float, dict[str, float]]:
        """Return the last measures of each β."""
        return self.measures_of(self.reports[-1]) if self.reports else {}


@dataclass(frozen=True)
class SearchFolder:
    """The records below `uri`; one driver writes plans, settings and ends, each pass its own reports and end."""

    uri: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return open_filesystem(self.uri)

    def plan(self) -> dict[str, Any] | None:
        """Return what the search is, None if there is none; what an earlier version did not know is as it was then."""
        found = self._read(_PLAN_FILE)
        return (
            None
            if found is None
            else {name: {**_LATER[name], **part} if name in _LATER else part for name, part in found.items()}
        )

    def remember_plan(self, plan: Mapping[str, Any]) -> None:
        """Write down what the search is; raises InputError, with what differs, if another is there."""
        known = self.plan()
        if known is not None:
            differences = differing_fields(known, json.loads(json.dumps(plan)))
            if differences:
                raise InputError(f"{self.uri} holds another search: {differences}; give another --name, or --resume")
            return
        try:
            self._write(_PLAN_FILE, plan)
        except OSError as error:
            raise InputError(f"{self.uri} cannot be written ({error}); give an output that can") from error

    def pass_uri(self, pass_id: str) -> str:
        """Return the place of a pass."""
        return f"{self.uri}/passes/{pass_id}"

    def begin(self, record: PassRecord) -> None:
        """Write down a pass that is to be run."""
        self._write_of(record.id, _SETTINGS_FILE, {"training": asdict(record.training), "chosen": record.chosen})

    def report(self, pass_id: str, reports: tuple[Report, ...], diverged: Mapping[str, str]) -> None:
        """Write down all reports of a pass so far."""
        self._write_of(pass_id, _REPORTS_FILE, {"reports": [each.to_dict() for each in reports], "diverged": diverged})

    def end(self, pass_id: str, outcome: Outcome) -> None:
        """Write down how a pass ended."""
        self._write_of(pass_id, _OUTCOME_FILE, asdict(outcome))

    def passes(self) -> list[PassRecord]:
        """Return the records of all passes, in their order."""
        filesystem, root = self._opened
        if not filesystem.isdir(f"{root}/passes"):
            return []
        entries = filesystem.ls(f"{root}/passes", detail=False)
        found = (self.read(entry.rstrip("/").rsplit("/", 1)[-1]) for entry in sorted(entries))
        return [record for record in found if record is not None]

    def read(self, pass_id: str) -> PassRecord | None:
        """Return a pass's record; None if it was never begun."""
        settings = self._read(f"passes/{pass_id}/{_SETTINGS_FILE}")
        if settings is None:
            return None
        training = TrainingConfig.from_dict(settings["training"])
        # an earlier version chose no bias atoms
        record = PassRecord(pass_id, training, {"bias_atoms": training.bias_atoms, **settings["chosen"]})
        reports = self._read(f"passes/{pass_id}/{_REPORTS_FILE}")
        outcome = self._read(f"passes/{pass_id}/{_OUTCOME_FILE}")
        if reports is not None:
            told = tuple(Report.from_dict(report) for report in reports["reports"])
            record = replace(record, reports=told, diverged=reports["diverged"])
        return replace(record, outcome=Outcome(**outcome)) if outcome else record

    def checkpoint(self, pass_id: str) -> str | None:
        """Return the folder of a pass's newest checkpoint, in which its SAEs lie by name; None if there is none."""
        uri = f"{self.pass_uri(pass_id)}/{CHECKPOINTS}"
        folder = CheckpointFolder(uri)
        steps = [record.step for record in folder.records()]
        return folder.uri_of(max(steps)) if steps else None

    def tracked(self) -> list[str]:
        """Return the passes of which MLflow has everything."""
        record: dict[str, list[str]] = self._read(_TRACKED_FILE) or {"passes": []}
        return record["passes"]

    def remember_tracked(self, pass_ids: Iterable[str]) -> None:
        """Write down of which passes MLflow has everything."""
        self._write(_TRACKED_FILE, {"passes": sorted(pass_ids)})

    def write_file(self, name: str, data: bytes) -> None:
        """Write one of the search's results."""
        filesystem, root = self._opened
        write_atomically(filesystem, f"{root}/{name}", data)

    def _write_of(self, pass_id: str, name: str, value: Mapping[str, Any]) -> None:
        self._write(f"passes/{pass_id}/{name}", value)

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        self.write_file(name, (json.dumps(value, indent=2) + "\n").encode())

    def _read(self, name: str) -> dict[str, Any] | None:
        filesystem, root = self._opened
        try:
            found: dict[str, Any] = json.loads(filesystem.cat_file(f"{root}/{name}"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise InputError(
                f"{self.uri}/{name} is not whole ({error}); remove it: what it says is done again"
            ) from error
        return found
