"""Where the results of steps lie: in a folder that all nodes see, or on an object store."""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from fsspec.implementations.local import LocalFileSystem

from isoenergy.storage.files import open_filesystem
from workflows.steps.step import NO_RECORD, FixedStep
from workflows.steps.step_bucket import StepBucket
from workflows.steps.step_folder import StepFolder

_READERS = 32

Record = dict[str, Any]


class StepStorage(Protocol):
    """The results below a root: a folder each, with a record. A result without one does not exist."""

    def record(self, folder: str) -> Record:
        """Return the record of a result; raises one of `NO_RECORD` if there is none."""
        ...

    def files(self, folder: str) -> str:
        """Return the folder, below the root, that holds the files of a result."""
        ...

    def inputs(self, folders: Collection[str]) -> AbstractContextManager[Mapping[str, tuple[Record, Path]]]:
        """Lend results, by their folder: the record of each and a local folder with its files, not to be written."""
        ...

    def put(self, step: FixedStep, make: Callable[[Path], Record]) -> None:
        """Have `make` fill a local folder and return its record; put both in place, whole or not at all.

        What another task has put there meanwhile stays: others may have begun to work with it.
        """
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep other runs out, where there are locks, and clear away what earlier ones left."""
        ...

    def forget(self) -> None:
        """Remove what steps keep on this node beside their results."""
        ...


def storage_at(root: str | Path) -> StepStorage:
    """Return the storage at a folder or fsspec URL."""
    filesystem, path = open_filesystem(str(root))
    return StepFolder(Path(path)) if isinstance(filesystem, LocalFileSystem) else StepBucket(str(root))


def records(storage: StepStorage, folders: Iterable[str]) -> list[Record | None]:
    """Return the record of each result; None where nothing whole lies."""

    def read(folder: str) -> Record | None:
        try:
            return storage.record(folder)
        except NO_RECORD:
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, folders))
