"""Copies of results on a node's own disk: each is fetched once, stays while it is used, and goes when the run ends."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isoenergy.errors import InputError

_FREE = 0.1
"""Of the disk; below it whatever is not used is removed before more is fetched."""
_WHOLE, _PART, _LOCK = "whole", "part", "lock"


class StepCache:
    """The copies of the results below one root, below TMPDIR; safe for all processes and threads of a node.

    An entry is a folder. Whoever uses it holds a shared lock on it, which ends with the process; who removes it needs
    the exclusive one.
    """

    def __init__(self, root: str) -> None:
        """Write nothing yet."""
        self._all = Path(tempfile.gettempdir(), f"isoenergy-steps-{os.getuid()}")
        self._folder = self._all / hashlib.sha256(root.encode()).hexdigest()[:12]

    @contextmanager
    def folder(self, name: str, fill: Callable[[Path], None]) -> Iterator[Path]:
        """Lend the folder that `fill` fills, unless it is there; others that want it meanwhile wait."""
        with self._used(name) as entry:
            whole = entry / _WHOLE
            if not whole.exists():
                with open(entry / _LOCK, "w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    if not whole.exists():
                        self._fill(entry, fill)
            yield whole

    def clear(self) -> None:
        """Remove what nobody uses."""
        _clear(self._folder)
        with suppress(OSError):  # others are at work
            self._all.rmdir()

    def _fill(self, entry: Path, fill: Callable[[Path], None]) -> None:
        disk = shutil.disk_usage(entry)
        if disk.free < _FREE * disk.total:
            for folder in _listed(self._all):
                _clear(folder)
        part = entry / _PART
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        part.mkdir()
        try:
            fill(part)
            part.rename(entry / _WHOLE)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    @contextmanager
    def _used(self, name: str) -> Iterator[Path]:
        """Keep an entry, made if need be, from being removed."""
        entry = self._folder / name
        while True:
            try:
                for folder in (self._all, self._folder, entry):
                    with suppress(FileExistsError):
                        folder.mkdir(mode=0o700)
                if self._all.stat().st_uid != os.getuid():
                    raise InputError(f"{self._all} is another user's; set TMPDIR to a folder of your own")
                descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:  # removed at this moment
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if _is_there(descriptor, entry):
                    yield entry
                    return
            finally:
                os.close(descriptor)


def _clear(folder: Path) -> None:
    for entry in _listed(folder):
        _remove_unused(entry)
    with suppress(OSError):  # others are at work
        folder.rmdir()


def _remove_unused(entry: Path) -> None:
    try:
        descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_there(descriptor, entry):
            gone = entry.with_name(uuid.uuid4().hex)
            entry.rename(gone)  # at once: nobody is to find half of it
            shutil.rmtree(gone, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _is_there(descriptor: int, entry: Path) -> bool:
    """Return whether what was opened still lies at its place."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), entry.stat())
    return False


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
