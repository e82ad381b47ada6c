"""Which pairs of a source have a key that stands earlier: on the driver if they are few, else on all of the cluster."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from tqdm import tqdm

from isoenergy.errors import InputError
from isoenergy.pairs.duplicates import key_places, repeated
from isoenergy.pairs.source import PairUnit
from isoenergy.store import StoreWriter
from isoenergy.store.manifest import CommitRecord
from workflows.cluster import engine

_PAIRS_OF_THE_DRIVER = 100_000
"""It looks at these in the time in which a worker starts."""
_KEY_PARTS = 16
_KEY_SCANS = 128

Records = dict[str, CommitRecord]
_File = tuple[int, str, list[tuple[StoreWriter, CommitRecord]] | None]
"""Its number, its name, and what stores hold of it if it has gone from the source."""


class KeyedFiles(Protocol):
    """Files with a key a row: pairs, or vectors. Small: they travel to every task."""

    files: list[str]
    """In their order."""

    @property
    def keys_may_repeat(self) -> bool:
        """Whether two rows may have one key."""
        ...

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of one file's rows, binary, in their order."""
        ...


def duplicate_rows(
    source: KeyedFiles,
    units: Sequence[PairUnit],
    files: Sequence[str],
    writers: Sequence[StoreWriter],
    committed: Sequence[Records],
) -> dict[str, list[int]]:
    """Find the rows, by file, whose key stands earlier in `files`; of many pairs only these come to the driver.

    Of a file that has gone from the source, the keys that a store holds still count. Raises InputError if the keys of a
    file cannot be read.
    """
    if not source.keys_may_repeat:
        return {}
    here = set(source.files)
    gone: dict[str, list[tuple[StoreWriter, CommitRecord]]] = {}
    for writer, done in zip(writers, committed, strict=True):
        for record in done.values():
            if record.file not in here:
                gone.setdefault(record.file, []).append((writer, record))
    numbered = [(number, file, gone.get(file)) for number, file in enumerate(files) if file in here or file in gone]
    pairs = sum(unit.stop - unit.start for unit in units if unit.stop is not None)  # None: it cannot be read
    pairs += sum(record.embedded for stored in gone.values() for _, record in stored)
    found = [repeated(_scan_keys(source, numbered, 1))] if pairs <= _PAIRS_OF_THE_DRIVER else _on_ray(source, numbered)
    rows: dict[str, list[int]] = {}
    for part in found:
        for number, again in part.items():
            rows.setdefault(files[number], []).extend(again)
    return {file: sorted(again) for file, again in rows.items()}


def _on_ray(source: KeyedFiles, numbered: list[_File]) -> list[dict[int, list[int]]]:
    engine.connect()
    scan = ray.remote(num_cpus=0.5, num_returns=_KEY_PARTS)(_scan_keys)
    find = ray.remote(num_cpus=0.5)(_find_repeated)
    reference = ray.put(source)
    groups = [numbered[start::_KEY_SCANS] for start in range(min(_KEY_SCANS, len(numbered)))]
    pieces: list[Any] = [scan.remote(reference, group, _KEY_PARTS) for group in groups]
    found = [find.remote(*(piece[part] for piece in pieces)) for part in range(_KEY_PARTS)]
    return [ray.get(part) for part in tqdm(found, desc="check keys", unit=" parts", leave=False)]


def _scan_keys(source: KeyedFiles, files: list[_File], parts: int) -> list[Any]:
    """Return where the keys of some files stand, by the parts of `key_places`."""
    pieces: list[list[Any]] = [[] for _ in range(parts)]
    for number, file, stored in files:
        try:
            keys = source.keys(file) if stored is None else _stored_keys(stored)
        except Exception as error:  # each filesystem has exceptions of its own
            raise InputError(
                f"the keys of {file} cannot be read ({error}), and without them no one knows which pairs stand twice; "
                f"mend or remove it and run the same command again"
            ) from error
        for piece, places in zip(pieces, key_places(keys, number, parts), strict=True):
            piece.append(places)
    return [np.concatenate(piece) for piece in pieces]


def _stored_keys(stored: list[tuple[StoreWriter, CommitRecord]]) -> pa.ChunkedArray:
    """Return the keys of some units' pairs, each once, though several stores may hold it."""
    columns = [_pair_keys(writer.read(record)[0]["key"], record).cast(pa.binary()) for writer, record in stored]
    return pa.chunked_array([pa.chunked_array([c for column in columns for c in column.chunks], pa.binary()).unique()])


def _pair_keys(keys: pa.ChunkedArray, record: CommitRecord) -> pa.ChunkedArray:
    return pc.replace_substring_regex(keys, "#[0-9]+$", "") if record.rows_by_split else keys


def _find_repeated(*pieces: Any) -> dict[int, list[int]]:
    return repeated(list(pieces))
