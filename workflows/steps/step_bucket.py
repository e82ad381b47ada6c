"""Results of steps on an object store: steps work on local copies, and a record that is written last names the files.

A result is a folder with a `step.json`. Each making of it has a folder of its own below, with the files; the record
says which of them counts, and what is in it: whatever a kill or a second process leaves there is no result.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Self

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem, without_secrets, write_atomically
from workflows.steps.step import RECORD_FILE, FixedStep
from workflows.steps.step_cache import StepCache

_FETCHES = 8
"""Inputs fetched at a time."""
_SWEEPS = 16
"""Results swept at a time."""
_RANGE = 16 * 2**20
"""Bytes asked for at a time."""
_ATTEMPTS = 3
_STORED = "stored"


class _NotWhole(Exception):
    """The files are not those that the record names."""


@dataclass(frozen=True)
class Stored:
    """What a record on an object store says more than one in a folder."""

    making: str
    """Folder of the files, below that of the result."""
    files: Mapping[str, tuple[int, str]]
    """Size and SHA-256 of each, by its path below the making."""

    @classmethod
    def of(cls, record: Any) -> Self:
        """Read it from a record; raises ValueError for anything else."""
        try:
            stored = record[_STORED]
            files = {str(inner): (int(size), str(digest)) for inner, (size, digest) in stored["files"].items()}
            making = str(stored["making"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the record of a result on an object store: {error}") from error
        paths = [PurePosixPath(making, inner) for inner in files]
        if "/" in making or any(path.is_absolute() or ".." in path.parts for path in paths):
            raise ValueError(f"the record names files outside its folder: {making}, {', '.join(files)}")
        return cls(making, files)


class StepBucket:
    """A `StepStorage` on an object store. It has no locks: one run at a time is to write there."""

    def __init__(self, root: str) -> None:
        """Write nothing yet. root: an fsspec URL."""
        self._uri = root
        self._filesystem, self._root = open_filesystem(root)
        self._cache = StepCache(root)

    def record(self, folder: str) -> dict[str, Any]:
        """Return the record of a result."""
        record: dict[str, Any] = json.loads(self._filesystem.cat_file(f"{self._root}/{folder}/{RECORD_FILE}"))
        Stored.of(record)
        return record

    def files(self, folder: str) -> str:
        """Return the folder of the making that counts."""
        return f"{folder}/{Stored.of(self.record(folder)).making}"

    @contextmanager
    def inputs(self, folders: Collection[str]) -> Iterator[Mapping[str, tuple[dict[str, Any], Path]]]:
        """Lend copies on this node; raises InputError, and removes the record, if a result is not what it says."""
        with ExitStack() as copies:
            with ThreadPoolExecutor(_FETCHES) as fetches:
                found = list(fetches.map(partial(self._copy, copies), folders))
            yield dict(zip(folders, found, strict=True))

    def put(self, step: FixedStep, make: Callable[[Path], dict[str, Any]]) -> None:
        """Have `make` fill a folder of this node's copies, and put that up: the files, then the record."""
        making, replaced = uuid.uuid4().hex, self._record_bytes(step.folder)

        def fill(output: Path) -> None:
            record = make(output)
            there = self._record_bytes(step.folder)
            if there == replaced or _making(there) is None:
                self._put_up(step.folder, making, output, record)

        with self._cache.folder(making, fill):
            pass

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep no one out: there are no locks. Of what was there before, remove at the end what does not count.

        What has come meanwhile stays, also if it does not count: a task that was given up for lost, or another run, may
        be about to write the record that names it.
        """
        before = self._listed()
        yield
        now = self._listed()
        doubtful = {
            name: its for name, its in before.items() if RECORD_FILE not in (left := now.get(name, {})) or len(left) > 2
        }
        with ThreadPoolExecutor(_SWEEPS, thread_name_prefix="sweep") as pool:
            list(pool.map(self._sweep, doubtful, doubtful.values()))

    def forget(self) -> None:
        """Remove the copies that are not used."""
        self._cache.clear()

    def _copy(self, copies: ExitStack, folder: str) -> tuple[dict[str, Any], Path]:
        for _ in range(_ATTEMPTS):  # another process may just have replaced the result
            record = self.record(folder)
            stored = Stored.of(record)
            try:
                path = copies.enter_context(self._cache.folder(stored.making, partial(self._fetch, folder, stored)))
            except _NotWhole as error:
                reason = error
            else:
                return record, path
        with suppress(FileNotFoundError):
            if self.record(folder) == record:  # not another that has just come
                self._filesystem.rm_file(f"{self._root}/{folder}/{RECORD_FILE}")
        raise InputError(
            f"{without_secrets(self._uri)}/{folder} is not what its record says ({reason}); the same command makes it "
            f"again"
        )

    def _fetch(self, folder: str, stored: Stored, target: Path) -> None:
        sizes = self._sizes(f"{folder}/{stored.making}")
        for inner, (size, digest) in stored.files.items():
            if sizes.get(inner) != size:
                raise _NotWhole(f"{inner} has {sizes.get(inner, 'no')} bytes, not {size}")
            file, found = target / inner, hashlib.sha256()
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                for start in range(0, size, _RANGE):
                    place = f"{self._root}/{folder}/{stored.making}/{inner}"
                    try:
                        data = self._filesystem.cat_file(place, start=start, end=min(size, start + _RANGE))
                    except FileNotFoundError as error:
                        raise _NotWhole(f"{inner} is gone") from error
                    found.update(data)
                    stream.write(data)
            if found.hexdigest() != digest:
                raise _NotWhole(f"{inner} has another digest")

    def _upload(self, output: Path, folder: str) -> dict[str, tuple[int, str]]:
        files = {}
        for file in sorted(path for path in output.rglob("*") if path.is_file()):
            inner, data = file.relative_to(output).as_posix(), file.read_bytes()
            write_atomically(self._filesystem, f"{self._root}/{folder}/{inner}", data)
            files[inner] = len(data), hashlib.sha256(data).hexdigest()
        return files

    def _put_up(self, folder: str, making: str, output: Path, record: dict[str, Any]) -> None:
        """Put up the files, then the record that names them.

        The sweep of another run may take this making, whose record is not there yet, for what a kill has left: then
        that run's own is the result, or, if the record came after the sweep, the files are put up again.
        """
        files = self._upload(output, f"{folder}/{making}")
        if not self._has(folder, making, files):
            return
        text = json.dumps({**record, _STORED: {"making": making, "files": files}}, indent=2) + "\n"
        write_atomically(self._filesystem, f"{self._root}/{folder}/{RECORD_FILE}", text.encode())
        if not self._has(folder, making, files):
            self._upload(output, f"{folder}/{making}")

    def _has(self, folder: str, making: str, files: Mapping[str, tuple[int, str]]) -> bool:
        there = self._sizes(f"{folder}/{making}")
        return {inner: size for inner, (size, _) in files.items()}.items() <= there.items()

    def _sweep(self, folder: str, parts: Mapping[str, list[str]]) -> None:
        """Remove the makings among the parts of a result that do not count, and see to it that none comes to count."""
        standing = self._record_bytes(folder)
        swept = parts.keys() - {_making(standing), RECORD_FILE}
        for path in (path for making in swept for path in parts[making]):
            with suppress(FileNotFoundError):
                self._filesystem.rm_file(path)
        if _making(self._record_bytes(folder)) not in swept:
            return
        path = f"{self._root}/{folder}/{RECORD_FILE}"  # names what is gone: it was written after it had been read
        if standing is None:
            self._filesystem.rm_file(path)
        else:
            write_atomically(self._filesystem, path, standing)

    def _listed(self) -> dict[str, dict[str, list[str]]]:
        """Return the objects of each result by the making that they are of; its record is by itself."""
        listed: dict[str, dict[str, list[str]]] = {}
        for path in self._filesystem.find(self._root):
            folder, _, inner = path.removeprefix(f"{self._root}/").partition("/")
            listed.setdefault(folder, {}).setdefault(inner.partition("/")[0], []).append(path)
        return listed

    def _record_bytes(self, folder: str) -> bytes | None:
        with suppress(FileNotFoundError):
            content: bytes = self._filesystem.cat_file(f"{self._root}/{folder}/{RECORD_FILE}")
            return content
        return None

    def _sizes(self, folder: str) -> dict[str, int]:
        """Return the size of each object below a folder, by its path there."""
        place = f"{self._root}/{folder}"
        found = self._filesystem.find(place, detail=True)
        return {path.removeprefix(f"{place}/"): int(info["size"]) for path, info in found.items()}


def _making(record: bytes | None) -> str | None:
    """Return the making that a record names; None for what is no record of a result."""
    try:
        return Stored.of(json.loads(record or b"")).making
    except ValueError:
        return None
