"""One pass over the data: trains its trials together, measures them part by part, goes on where it was cut short."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.joint import Autoencoder
from isoenergy.store.batches import Batches
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.trainer import DivergedError, Metrics, RawPairs, SaveCheckpoint, Trainer
from isoenergy.training.training_config import TrainingConfig
from isoenergy.training.validation import validation_measures
from tune.objectives import Objectives
from tune.passes import CHECKPOINTS, Outcome, PassRecord, Report, SearchFolder
from workflows.tracking.system_metrics import system_metrics

HISTORY_FILE = "history.json"

Points = list[tuple[int, Metrics]]
Send = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class PassTask:
    """What a pass is to do, wherever it runs."""

    search: SearchFolder
    pass_id: str
    objectives: Objectives
    parts: int
    """Parts of the training, after each of which the trials are measured and a checkpoint is kept."""


@dataclass(frozen=True)
class TrialPairs:
    """What trials are measured with."""

    validation: RawPairs
    """Pairs to measure on."""
    fitting: RawPairs
    """Pairs of the train split, on which atoms get their classes."""


@dataclass(frozen=True)
class PassData:
    """What it trains on, and how."""

    batches: Callable[[TrainingConfig], Batches]
    widths: Mapping[str, int]
    """Of each modality."""
    device: torch.device
    means: Mapping[str, torch.Tensor]
    held: TrialPairs
    wrap: Callable[[nn.Module, TrainingConfig], nn.Module] = lambda module, _: module
    """Makes a module distributed, if it is to be."""
    first: bool = True
    """Whether this process is the one that measures, reports and keeps checkpoints."""


def run_pass(task: PassTask, data: PassData, send: Send) -> None:
    """Train to the end, from the last checkpoint if there is one; `send` is called after each part, by all processes.

    A trial that diverges is left out, and the others start again without it, since they do not depend on each other.
    A pass that has ended is not run again: what it sent last is sent again.
    """
    record = task.search.read(task.pass_id)
    if record is None:
        raise InputError(f"{task.search.uri} has no pass {task.pass_id}")
    if record.outcome is not None:
        if record.reports:
            send(_message(task, record))
        return
    diverged = dict(record.diverged)
    while True:
        betas = tuple(
            beta for beta, names in record.saes_by_beta.items() if not any(name in diverged for name in names)
        )
        if not betas:
            _fail(task, data, "; ".join(diverged.values()))
            return
        try:
            _Attempt(task, replace(record, diverged=diverged), betas, data, send).run()
            return
        except DivergedError as error:  # all processes have seen the same
            diverged[error.sae] = str(error)
            if data.first:
                CheckpointFolder(f"{task.search.pass_uri(task.pass_id)}/{CHECKPOINTS}").remove_all()
                task.search.report(task.pass_id, (), diverged)
        except (InputError, MemoryError, torch.cuda.OutOfMemoryError) as error:  # another attempt would end alike
            _fail(task, data, _reason(error))
            return


def _fail(task: PassTask, data: PassData, reason: str) -> None:
    if data.first:
        task.search.end(task.pass_id, Outcome("failed", reason))


def _reason(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    return (
        f"out of memory ({str(error).splitlines()[0]}); give a smaller --space.expansion or --space.batch-pairs, or "
        f"fewer --trials"
    )


class _Attempt:
    def __init__(
        self, task: PassTask, record: PassRecord, betas: tuple[float, ...], data: PassData, send: Send
    ) -> None:
        self._task, self._record, self._data, self._send = task, record, data, send
        batches = data.batches(record.training)
        steps = record.training.epochs * batches.steps
        training = replace(record.training, beta=betas, checkpoint_every=-(-steps // task.parts))
        self._trainer = Trainer(
            training, batches, data.widths, data.device, lambda module: data.wrap(module, training), dict(data.means)
        )
        self._checkpoints = CheckpointFolder(f"{task.search.pass_uri(task.pass_id)}/{CHECKPOINTS}", keep=1)
        self._history: Points = []
        self._new: Points = []
        self._reports: list[Report] = []
        self._spent = 0.0

    def run(self) -> None:
        """Train what is left, if anything is."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if self._checkpoints.restore(folder) is not None:
                self._trainer.load(folder)
                state = json.loads((folder / HISTORY_FILE).read_text())
                self._history = [(step, values) for step, values in state["points"]]
                self._reports = [Report.from_dict(report) for report in state["reports"]]
                self._spent = self._reports[-1].seconds
        if self._trainer.step == self._trainer.steps:
            self._publish([])
        self._since = time.perf_counter()
        self._trainer.run(self._report)

    def _report(self, step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        if not self._data.first:
            if save is not None:
                self._send({})
            return
        self._new.append((step, {**metrics, **system_metrics()}))
        if save is None:
            return
        group = self._trainer.group
        measures = {name: self._measures(sae) for name, sae in zip(group.names, group.saes, strict=True)}
        by_name = {f"{name}/validation_{key}": value for name, each in measures.items() for key, value in each.items()}
        self._new[-1][1].update(by_name)
        self._history += self._new
        part = step * self._task.parts // self._trainer.steps
        self._reports.append(Report(part, step, self._spent + time.perf_counter() - self._since, measures))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            save(folder)
            state = {"points": self._history, "reports": [report.to_dict() for report in self._reports]}
            (folder / HISTORY_FILE).write_text(json.dumps(state))
            self._checkpoints.put(step, folder)
        new, self._new = self._new, []
        self._publish(new)

    def _publish(self, new: Points) -> None:
        """Put the reports where the search sees them: they are in a checkpoint, so that a kill loses none."""
        if not self._data.first:
            self._send({})
            return
        record = replace(self._record, reports=tuple(self._reports))
        self._task.search.report(self._task.pass_id, record.reports, record.diverged)
        if self._trainer.step == self._trainer.steps:
            self._task.search.end(self._task.pass_id, Outcome("finished"))
        self._send({**_message(self._task, record), "points": new})

    def _measures(self, sae: Autoencoder) -> dict[str, float]:
        assert isinstance(sae, SparseAutoencoder)  # a search refuses others
        held, device = self._data.held, self._data.device
        pairs, fitting = ((rows[0].to(device), rows[1].to(device)) for rows in (held.validation, held.fitting))
        return asdict(validation_measures(sae, pairs, fitting))


def _message(task: PassTask, record: PassRecord) -> dict[str, Any]:
    report = record.reports[-1]
    trials = list(record.measures_of(report).values())
    return {
        "part": report.part,
        "step": report.step,
        "measures": trials,
        "hypervolume": task.objectives.hypervolume(trials),
    }
