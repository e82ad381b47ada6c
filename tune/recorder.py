"""What is noted while a search runs: ends on record, all of it in MLflow, and where it stands for who waits."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import ray.tune
from tqdm import tqdm

from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore
from tune.passes import Outcome, PassRecord, SearchFolder, Status
from tune.proposals import Proposals
from tune.training_pass import HISTORY_FILE
from workflows.tracking import mlflow_runs
from workflows.tracking.search_tracking import SearchTracking

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} parts [{elapsed}<{remaining}{postfix}]"
_LONGEST_REASON = 500


class Recorder(ray.tune.Callback):
    """Listens to Ray Tune; MLflow is written by a thread of its own, and what it did not take is sent by a resume."""

    def __init__(
        self,
        folder: SearchFolder,
        run: mlflow_runs.Run,
        store: EmbeddingStore,
        proposals: Proposals,
        total: int,
        parts: int,
    ) -> None:
        """total: passes of the search. parts: of each."""
        self._folder, self._proposals = folder, proposals
        self._parts, self._widths = parts, store.manifest.modalities
        self._tracking = SearchTracking(run, folder.uri, store.uri, store.fingerprint, store.manifest.source)
        self._running: dict[str, PassRecord] = {}
        self._ended: set[str] = set()
        self._bar = tqdm(total=total * parts, desc="search", unit=" parts", bar_format=_BAR)

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles its callbacks, for a way to resume that is not ours."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left to MLflow; the runs of passes that were cut short are KILLED until they go on."""
        del error, trace
        for record in self._running.values():
            for name in record.training.names:
                self._tracking.end(_candidate(record, name), "KILLED")
        self._bar.close()
        if self._tracking.close() == 0 and kind is None:
            self._folder.remember_tracked(self._ended)

    def replay(self, known: Iterable[PassRecord]) -> None:
        """Take up what earlier drivers left on record, and send MLflow what they may not have sent."""
        tracked = self._folder.tracked()
        for record in known:
            self._bar.update(record.reports[-1].part if record.reports else 0)
            if record.outcome is not None:
                self._bar.update(self._parts - (record.reports[-1].part if record.reports else 0))
                self._ended.add(record.id)
            if record.id not in tracked:
                self._begin(record)
                self._send(record, self._history(record))
                if record.outcome is not None:
                    self._end(record)

    @property
    def at_work(self) -> int:
        """How many passes have begun and not ended."""
        return len(self._running)

    def on_trial_start(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        """Note a pass that starts, or starts again."""
        record = self._folder.read(info["trial"].config["pass"])
        assert record is not None
        self._running[record.id] = record
        self._begin(record)

    def on_trial_result(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        """Note a part of a pass."""
        record = self._running[info["trial"].config["pass"]]
        result = info["result"]
        self._send(record, result.get("points", []))
        self._bar.update(1)
        self._bar.set_postfix_str(f"{record.id}: dominates {result['hypervolume']:.3f}", refresh=False)

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        """Note the end of a pass: by itself, or by the scheduler."""
        self._finish(info["trial"].config["pass"], "stopped", "halving")

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        """Note a pass that was lost too often."""
        text = " ".join(str(info["trial"].get_error()).split())[-_LONGEST_REASON:]
        self._finish(info["trial"].config["pass"], "failed", f"its process was lost or failed: {text}")

    def _finish(self, pass_id: str, status: Status, reason: str) -> None:
        record = self._folder.read(pass_id)
        assert record is not None
        if record.outcome is None:
            self._folder.end(pass_id, Outcome(status, reason))
            record = self._folder.read(pass_id)
            assert record is not None
        assert record.outcome is not None
        self._running.pop(pass_id, None)
        self._ended.add(pass_id)
        self._proposals.tell(record)
        self._end(record)
        self._bar.update(self._parts - (record.reports[-1].part if record.reports else 0))
        if record.outcome.status == "failed":
            tqdm.write(f"search: {pass_id} failed: {record.outcome.reason}", file=sys.stderr)
        for name, said in record.diverged.items():
            tqdm.write(f"search: {pass_id}: {name} is left out: {said}", file=sys.stderr)

    def _begin(self, record: PassRecord) -> None:
        for name in record.training.names:
            tags = {"pass": record.id, "search": self._folder.uri}
            self._tracking.begin(_candidate(record, name), self._parameters(record, name), tags)

    def _parameters(self, record: PassRecord, name: str) -> dict[str, object]:
        config, seed = record.training.saes(self._widths)[name]
        own = {"beta": config.beta, "atoms": config.atoms, "initialisation_seed": seed}
        return {**asdict(record.training), "objective": str(record.training.alignment), **own}

    def _send(self, record: PassRecord, points: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        names = record.training.names
        for step, values in points:
            shared = {key: value for key, value in values.items() if not key.startswith(tuple(f"{n}/" for n in names))}
            for name in names:
                own = {
                    key.removeprefix(f"{name}/"): value for key, value in values.items() if key.startswith(f"{name}/")
                }
                if own:
                    self._tracking.metrics(_candidate(record, name), step, {**own, **shared})

    def _end(self, record: PassRecord) -> None:
        assert record.outcome is not None
        checkpoint = self._folder.checkpoint(record.id)
        for name in record.training.names:
            candidate, reason = _candidate(record, name), record.diverged.get(name, record.outcome.reason)
            if record.outcome.status == "failed" or name in record.diverged:
                self._tracking.end(candidate, "FAILED", {"reason": reason})
            elif record.outcome.status == "stopped":
                part = f"{record.reports[-1].part} of {self._parts} parts"
                tags = {"early_stopped": "true", "stopped_by": reason, "stopped_after": part}
                self._tracking.end(candidate, "FINISHED", tags, f"{checkpoint}/{name}")
            else:
                self._tracking.end(candidate, "FINISHED", model=f"{checkpoint}/{name}")

    def _history(self, record: PassRecord) -> list[tuple[int, Mapping[str, float]]]:
        checkpoint = self._folder.checkpoint(record.id)
        if checkpoint is None:
            return []
        filesystem, root = open_filesystem(checkpoint)
        points: list[tuple[int, Mapping[str, float]]] = json.loads(filesystem.cat_file(f"{root}/{HISTORY_FILE}"))[
            "points"
        ]
        return points

    def register(self, record: PassRecord, name: str, model: str, alias: str) -> None:
        """Register one of a pass's SAEs in MLflow under an alias."""
        self._tracking.register_best(_candidate(record, name), model, alias)


def _candidate(record: PassRecord, name: str) -> str:
    return f"{record.id}/{name}"
