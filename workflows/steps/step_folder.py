"""Results of steps in a folder that all nodes see: made beside their place, and renamed to it when they are whole."""

import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflows.cluster.lock import alone_in
from workflows.steps.step import NO_RECORD, RECORD_FILE, FixedStep

_TEMPORARY = ".step-"
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


class StepFolder:
    """A `StepStorage` in a folder."""

    def __init__(self, root: Path) -> None:
        """Write nothing yet."""
        self._root = root

    def record(self, folder: str) -> dict[str, Any]:
        """Return the record of a result."""
        record: dict[str, Any] = json.loads((self._root / folder / RECORD_FILE).read_text())
        return record

    def files(self, folder: str) -> str:
        """Return the folder itself."""
        return folder

    @contextmanager
    def inputs(self, folders: Collection[str]) -> Iterator[Mapping[str, tuple[dict[str, Any], Path]]]:
        """Lend the results themselves."""
        yield {folder: (self.record(folder), self._root / folder) for folder in folders}

    def put(self, step: FixedStep, make: Callable[[Path], dict[str, Any]]) -> None:
        """Have `make` fill a temporary folder and put that in the step's place when it is whole."""
        replaced = self._record_if_any(step.folder)
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=self._root, prefix=f"{_temporary(step.name)}-", ignore_cleanup_errors=True
        ) as temporary:
            output = Path(temporary, "output")
            output.mkdir()
            record = make(output)
            (output / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n")
            self._put_in_place(output, step.folder, replaced, Path(temporary))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs out for as long as this process lives, and clear away what killed ones left.

        Where the filesystem has no locks no one is kept out, and nothing cleared away.

        Raises InputError if another run is at work.
        """
        with alone_in(str(self._root)) as locked:
            if locked:
                for leftover in self._root.glob(f"{_TEMPORARY}*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            yield

    def forget(self) -> None:
        """Nothing is kept."""

    def _put_in_place(self, output: Path, folder: str, replaced: dict[str, Any] | None, aside: Path) -> None:
        """Rename `output` to its place, unless a task that was given up for lost has put its own there meanwhile."""
        place = self._root / folder
        for attempt in range(100):
            try:
                output.rename(place)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
            else:
                return
            there = self._record_if_any(folder)
            if there is not None and there != replaced:
                return
            with contextlib.suppress(FileNotFoundError):
                place.rename(aside / f"replaced-{attempt}")
        raise FileExistsError(f"{place} is taken again as often as it is emptied")

    def _record_if_any(self, folder: str) -> dict[str, Any] | None:
        with contextlib.suppress(*NO_RECORD):
            return self.record(folder)
        return None


def _temporary(name: str) -> str:
    return f"{_TEMPORARY}{name.replace('/', '-')}"
