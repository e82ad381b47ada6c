"""Checkpoints of one training, on disk or an object store: whole or not there; the last ones and the best are kept.

A checkpoint is a folder `step-N` whose files are written one by one and named, with digests, by its `complete.json`,
which is written last. A folder without one is what a kill has left behind, and is removed by the next checkpoint.
"""

import hashlib
import json
import math
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem, write_atomically

_RECORD = "complete.json"
_PREFIX = "step-"


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint's `complete.json`."""

    step: int
    score: float
    """Higher is better; NaN if it was not measured."""
    run: str
    """Id of the MLflow run that trains, or empty."""
    files: dict[str, str]
    """SHA-256 of each file, by its path below the checkpoint."""


class CheckpointFolder:
    """The checkpoints below `uri`, a folder or fsspec URL; one process writes."""

    def __init__(self, uri: str, keep: int = 2) -> None:
        """Write nothing yet. keep: how many of the last are kept, beside the best."""
        self.uri, self._keep = uri, keep
        self._filesystem, self._root = open_filesystem(uri)

    def put(self, step: int, folder: Path, score: float = math.nan, run: str = "") -> None:
        """Store what `folder` holds as the checkpoint of `step`, then remove those that are no longer to be kept.

        Raises InputError if the place cannot be written; earlier checkpoints are whole all the same.
        """
        name = f"{self._root}/{_PREFIX}{step:08d}"
        digests = {}
        try:
            self._remove(step)
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                data = file.read_bytes()
                inner = file.relative_to(folder).as_posix()
                digests[inner] = hashlib.sha256(data).hexdigest()
                write_atomically(self._filesystem, f"{name}/{inner}", data)
            record = CheckpointRecord(step, score, run, digests)
            write_atomically(self._filesystem, f"{name}/{_RECORD}", json.dumps(asdict(record), indent=2).encode())
            self._sweep()
        except OSError as error:
            raise InputError(
                f"{self.uri} cannot be written ({error}); make room or give another output: the same command goes on "
                f"from the last whole checkpoint"
            ) from error

    def restore(self, folder: Path) -> CheckpointRecord | None:
        """Copy the newest whole checkpoint into `folder` and return its record; None if there is none.

        One whose files are not those that its record names is passed over.
        """
        for record in sorted(self.records(), key=lambda record: -record.step):
            if self._copy(record, folder):
                return record
            shutil.rmtree(folder)
            folder.mkdir()
        return None

    def uri_of(self, step: int) -> str:
        """Return the folder or URL of the checkpoint of a step."""
        return f"{self.uri}/{_PREFIX}{step:08d}"

    def records(self) -> list[CheckpointRecord]:
        """Return the records of all checkpoints that have one, by step."""
        found = []
        for step in self._steps():
            with suppress(FileNotFoundError, NotADirectoryError, ValueError, TypeError):  # half-written, or not ours
                text = self._filesystem.cat_file(f"{self._root}/{_PREFIX}{step:08d}/{_RECORD}")
                record = CheckpointRecord(**json.loads(text))
                if record.step == step and isinstance(record.files, dict) and isinstance(record.score, float | int):
                    found.append(record)
        return found

    def remove_all(self) -> None:
        """Remove every checkpoint: the training is done, or its first checkpoint is yet to come."""
        for step in self._steps():
            self._remove(step)

    def _copy(self, record: CheckpointRecord, folder: Path) -> bool:
        for inner, digest in record.files.items():
            target = folder / inner
            if not target.resolve().is_relative_to(folder.resolve()):
                return False
            try:
                data = self._filesystem.cat_file(f"{self._root}/{_PREFIX}{record.step:08d}/{inner}")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            if hashlib.sha256(data).hexdigest() != digest:
                return False
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return True

    def _sweep(self) -> None:
        records = {record.step: record for record in self.records()}
        kept = set(sorted(records)[-self._keep :])
        scored = [record for record in records.values() if not math.isnan(record.score)]
        if scored:
            kept.add(max(scored, key=lambda record: (record.score, record.step)).step)
        for step in self._steps():
            if step not in kept:
                self._remove(step)

    def _steps(self) -> list[int]:
        if not self._filesystem.isdir(self._root):
            return []
        names = [entry.rstrip("/").rsplit("/", 1)[-1] for entry in self._filesystem.ls(self._root, detail=False)]
        numbers = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _remove(self, step: int) -> None:
        """Remove a checkpoint: first what makes it one."""
        name = f"{self._root}/{_PREFIX}{step:08d}"
        with suppress(FileNotFoundError, NotADirectoryError):
            self._filesystem.rm_file(f"{name}/{_RECORD}")
        with suppress(FileNotFoundError):
            self._filesystem.rm(name, recursive=True)
