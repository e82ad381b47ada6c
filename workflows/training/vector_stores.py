"""Paired vectors where a store is asked for: the store that is made of them is what is worked on."""

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import ray
from tqdm import tqdm

from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.pairs.duplicates import key_places, repeated
from isoenergy.pairs.places import is_shown
from isoenergy.pairs.source import PairUnit
from isoenergy.sae.given_saes import require_no_saes
from isoenergy.storage.files import absolute_uri, without_secrets
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from isoenergy.store.joined_captions import JoinedCaptions
from isoenergy.store.key_faults import FaultyKeys, KeyFault, added
from isoenergy.store.paired_vectors import VectorFiles
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from workflows.cluster import engine
from workflows.extraction.extraction_duplicates import duplicate_rows

_LOG = logging.getLogger(__name__)
_FILES_AT_ONCE = 32
_ROWS_OF_THE_DRIVER = 100_000
"""It looks at these in the time in which a worker starts."""
STORE = "store"
_FILE = "files.json"
"""One of those in a store."""
_OF_A_JOIN = {KeyFault.UNPLACED, KeyFault.WITHOUT_FELLOW}


def store_of(uri: str, modalities: str, output: str, skip_bad_rows: bool = False, dry_run: bool = False) -> str:
    """Return the URI of the store at `uri`; of files of vectors, of that which is made of them in `output`.

    That is a view of them, which leaves the vectors where they are, if one can be made; else, as its plan says, a copy.
    modalities: see `modality_names`. What is done already is not done again.
    Raises InputError, naming file, row and column, for what cannot be used, and for files that have changed since; if
    it is a dry run and the store is not whole too, as what is done with it cannot be planned.
    """
    return GivenStore.at(uri, modalities, output, skip_bad_rows).made(dry_run)


@dataclass(frozen=True)
class GivenStore:
    """A store that a command line names: one that is there, or one that is to be made of files of vectors."""

    uri: str
    copy: "VectorCopy | None"
    """What it is to be made of; None if it is one."""

    @classmethod
    def at(cls, uri: str, modalities: str, output: str, skip_bad_rows: bool = False) -> Self:
        """Look at what is given, and make nothing yet; raises InputError as `store_of` does."""
        names = modality_names(modalities)
        if holds_vectors(uri):
            require_no_saes(uri)
            store = f"{absolute_uri(output)}/{STORE}"
            require_outside(uri, store)
            return cls(store, VectorCopy(_viewed_or_copied(open_vectors(uri, names), store), store, skip_bad_rows))
        given = cls(uri, None)
        if names and (there := tuple(given.manifest.modalities)) != names:
            raise InputError(f"{uri} is a store of {', '.join(there)}; --modalities chooses among columns of vectors")
        return given

    @cached_property
    def _there(self) -> EmbeddingStore:
        return EmbeddingStore.open(self.uri)

    @property
    def manifest(self) -> Manifest:
        """What it holds, or will hold."""
        return self._there.manifest if self.copy is None else self.copy.manifest

    def opened(self, dry_run: bool = False) -> EmbeddingStore:
        """Return the store, which is made if need be; raises InputError as `store_of` does."""
        return self._there if self.copy is None else EmbeddingStore.open(self.made(dry_run))

    def made(self, dry_run: bool = False) -> str:
        """Return the URI of the store, which is made if need be; raises InputError as `store_of` does."""
        if self.copy is not None and not self.copy.is_done:
            if dry_run:
                raise InputError(
                    f"a plan needs a store of the vectors of {self.copy.source}: make one by `isoenergy import`, with "
                    f"--view without a copy of them, and give that; its own --dry-run says what is taken for what"
                )
            _LOG.info("\n".join(self.copy.plan()))
            self.copy.run()
        return self.uri


def require_outside(uri: str, store: str) -> None:
    """Raise InputError for a store in the folder of files that it is made of, where the next run would find it."""
    folder, inside = (absolute_uri(place).rstrip("/") for place in (uri, store))
    if inside.startswith(f"{folder}/") and is_shown(f"{inside.removeprefix(folder)[1:]}/{_FILE}"):
        raise InputError(
            f"{without_secrets(store)} lies in {without_secrets(uri)}, and the next run would take what is written "
            f"there for vectors; give another place"
        )


def modality_names(given: str) -> tuple[str, ...]:
    """Return the columns that a command line names, with commas between; none: all that can be taken."""
    return tuple(name.strip() for name in given.split(",") if name.strip())


def _viewed_or_copied(files: VectorFiles, store: str) -> VectorFiles:
    """Return the files as the store that is there has taken them; if there is none, viewed where they can be."""
    there = StoreWriter(store).manifest()
    is_view = bool(there.view_of) if there else not files.why_copied
    return files.viewed() if is_view else files


class VectorCopy:
    """A store that is made of vectors, a copy or a view, as far as it is."""

    def __init__(self, files: VectorFiles, store: str, skip_bad_rows: bool = False) -> None:
        """Look at what is copied. Raises InputError if that is another copy, or of files that have changed since."""
        self.source = without_secrets(files.uri)
        self._files, self.store, self._skip_bad_rows = files, store, skip_bad_rows
        self._writer, self.manifest, self._units = StoreWriter(store), files.manifest(), files.units()
        there = self._writer.manifest()
        committed = self._writer.committed() if self._writer.holds(self.manifest) else {}
        self._is_moved = there is not None and there.view_of != self.manifest.view_of
        _require_unchanged(files, self._writer, skip_bad_rows)
        self._missing = [unit for unit in self._units if unit.name not in committed]

    @property
    def is_done(self) -> bool:
        """Whether all is there and known to be sound."""
        return not self._missing and not self._is_moved and self._writer.has_summary()

    def plan(self) -> list[str]:
        """Return lines that say what is taken for what, and how much of it is copied."""
        done = len(self._units) - len(self._missing)
        lines = [
            *self._files.plan(),
            f"store       {self.store}: {done:,} of {counted(len(self._units), 'unit')} there",
        ]
        if self.is_done:
            return lines
        if sum(self._files.rows.values()) > _ROWS_OF_THE_DRIVER:
            keys = ["keys        are read before anything is copied: none may stand twice, or lack its fellow"]
            return [*lines, *(keys if self._files.columns.key else [])]
        ending = "left out" if self._skip_bad_rows else "refused"
        captions = [f"captions    {line}" for line in self._told_of_captions]
        return [*lines, *captions, *(f"bad keys    {fault}: {ending}" for fault in self._faulty_keys)]

    def run(self) -> EmbeddingStore:
        """Take what is missing. Raises InputError, naming file, row and column, for what cannot be used."""
        if self._captions and self._captions.why_useless:
            raise InputError(self._captions.why_useless)
        if self._faulty_keys and not self._skip_bad_rows:
            kinds = {fault.fault for fault in self._faulty_keys}
            rowwise = ", or run `isoenergy import --key none`: files and rows are the keys then"
            raise InputError(
                f"{'; '.join(map(str, self._faulty_keys))}; mend the files, or "
                f"give --skip-bad-rows to leave such rows out, of rows of one key all but the first"
                f"{rowwise if kinds.isdisjoint(_OF_A_JOIN) else ''}"
            )
        self._writer.begin(self.manifest, self._in_order)
        captions = _copy_all(self._files, self._writer, self._missing, self._skip_bad_rows, self._repeated)
        self._writer.settle(self.manifest.units)
        store = EmbeddingStore.open(self.store)
        store.require_complete()
        if left_out := sum(store.rejected.values()):
            _LOG.warning("vectors: %s left out; %s/rejected names them", counted(left_out, "bad row"), self.store)
        unplaced = [str(fault) for fault in self._faulty_keys if fault.fault is KeyFault.UNPLACED]
        for line in unplaced:
            _LOG.warning("vectors: left out %s", line)
        for line in self._told_of_captions:
            _LOG.warning("vectors: %s", line)
        if captions.not_utf8:
            told = counted(captions.not_utf8, "caption")
            _LOG.warning("vectors: %s not UTF-8: what is no letter there is stored as \ufffd", told)
        if captions.blank and not self._captions:
            _LOG.warning("vectors: %s without a caption: it is blank", counted(captions.blank, "row"))
        # What was there already may be of another time's files.
        if self._files.columns.key and len(self._missing) < len(self._units):
            _require_different_keys(store)
        told_of = [*unplaced, *self._told_of_captions]
        summary = {"rows": store.rows_in, "rejected": store.rejected, "unplaced": told_of}
        self._writer.write_summary(json.dumps(summary))  # now it is known to be sound
        return store

    @cached_property
    def _in_order(self) -> list[str]:
        """The files as they came to the store: of rows of one key, the first in this order is kept."""
        return list(dict.fromkeys([*self._writer.known_files(), *self._files.files]))

    @cached_property
    def _repeated(self) -> dict[str, list[int]]:
        """Numbers of the rows whose key stands before, by file."""
        return duplicate_rows(self._files, self._units, self._in_order, (), ())

    @cached_property
    def _captions(self) -> JoinedCaptions | None:
        if not self._files.has_captions_by_key:
            return None
        if sum(self._files.rows.values()) <= _ROWS_OF_THE_DRIVER:
            return self._files.joined_captions()
        engine.connect()
        look: Any = ray.remote(num_cpus=1, max_retries=3)(VectorFiles.joined_captions)
        found: JoinedCaptions | None = ray.get(look.remote(ray.put(self._files)))
        return found

    @property
    def _told_of_captions(self) -> list[str]:
        return self._captions.told() if self._captions else []

    @cached_property
    def _faulty_keys(self) -> list[FaultyKeys]:
        if not self._files.has_keys:
            return []
        faults = [fault for of_file in self._looked_at_keys() for fault in of_file]
        if rows := sum(map(len, self._repeated.values())):
            file = next(file for file in self._in_order if file in self._repeated)
            first = self._files.named(file, self._repeated[file][0])
            faults.append(FaultyKeys(KeyFault.REPEATED, rows, first))
        return added(faults)

    def _looked_at_keys(self) -> list[list[FaultyKeys]]:
        if sum(self._files.rows.values()) <= _ROWS_OF_THE_DRIVER:
            return [self._files.faulty_keys(file) for file in self._files.files]
        engine.connect()
        look: Any = ray.remote(num_cpus=1, max_retries=3)(VectorFiles.faulty_keys)
        reference = ray.put(self._files)
        found: list[list[FaultyKeys]] = ray.get([look.remote(reference, file) for file in self._files.files])
        return found


@dataclass(frozen=True)
class _Captions:
    """How many of those that were copied are something to speak of."""

    not_utf8: int
    blank: int

    def __add__(self, other: Self) -> Self:
        return type(self)(self.not_utf8 + other.not_utf8, self.blank + other.blank)


def _require_unchanged(files: VectorFiles, writer: StoreWriter, skip_bad_rows: bool) -> None:
    records = list(writer.committed().values())
    digests = {record.file: record.file_digest for record in records}
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        here = [file for file in digests if file in files.rows]
        now = dict(zip(here, pool.map(files.file_digest, here), strict=True))
    if changed := [file for file, digest in digests.items() if now.get(file) != digest]:
        together = " or ".join(part.at.file for part in files.parts.get(changed[0], [])) or changed[0]
        raise InputError(
            f"{together} of {without_secrets(files.uri)} is not what {writer.uri} was made of; give another --output"
        )
    if not skip_bad_rows and (bad := sum(record.rejected for record in records)):
        raise InputError(
            f"{writer.uri} was made without {counted(bad, 'bad row')}; give --skip-bad-rows, or another --output"
        )


def _copy_all(
    files: VectorFiles,
    writer: StoreWriter,
    units: Sequence[PairUnit],
    skip_bad_rows: bool,
    repeated: Mapping[str, Sequence[int]],
) -> _Captions:
    """Copy what is missing, a file a task; few rows are copied by this process."""
    by_file: dict[str, list[PairUnit]] = {}
    found = _Captions(0, 0)
    for unit in units:
        by_file.setdefault(unit.file, []).append(unit)
    with tqdm(total=len(by_file), desc="copy vectors", unit=" files", leave=False, delay=2) as bar:
        if sum(files.rows[file] for file in by_file) <= _ROWS_OF_THE_DRIVER:
            for file, some in by_file.items():
                found += _copy(files, writer, some, skip_bad_rows, repeated.get(file, ()))
                bar.update()
            return found
        engine.connect()
        run: Any = ray.remote(num_cpus=1, max_retries=3)(_copy)
        reference = ray.put(files)
        pending = [
            run.remote(reference, writer, some, skip_bad_rows, repeated.get(file, ())) for file, some in by_file.items()
        ]
        for task in pending:
            found += ray.get(task)
            bar.update()
    return found


def _copy(
    files: VectorFiles,
    writer: StoreWriter,
    units: Sequence[PairUnit],
    skip_bad_rows: bool,
    repeated: Sequence[int],
) -> _Captions:
    """Commit some units of one file."""
    found = _Captions(0, 0)
    try:
        digest = files.file_digest(units[0].file)
        for rows in files.read(units[0].file, units, skip_bad_rows, repeated):
            writer.commit(rows.unit, digest, rows.shard, rows.rejected)
            found += _Captions(rows.captions_not_utf8, rows.captions_blank)
    except OSError as error:
        raise InputError(
            f"{units[0].file} cannot be copied to {writer.uri} ({error}); make room or give another --output: the same "
            f"command goes on from what is copied"
        ) from error
    return found


def _require_different_keys(store: EmbeddingStore) -> None:
    """Raise InputError if a key stands twice; holds 28 bytes a row, on a worker if they are many."""
    if len(store) <= _ROWS_OF_THE_DRIVER:
        found = _first_repeated(store)
    else:
        engine.connect()
        found = ray.get(ray.remote(num_cpus=1)(_first_repeated).remote(store))
    if found:
        raise InputError(
            f"{store.manifest.source} has {FaultyKeys(KeyFault.REPEATED, found[1], repr(found[0]))}; mend "
            f"them, or run `isoenergy import --key none` to another --output: files and rows are the keys then"
        )


def _first_repeated(store: EmbeddingStore) -> tuple[str, int] | None:
    places = []
    for number, record in enumerate(store.commits):
        keys = store.read_unit(record.unit, ["key"])["key"].cast(pa.binary())
        places += key_places(keys, number, 1)
    again = repeated([np.concatenate(places)])
    if not again:
        return None
    unit, rows = min(again.items())
    key = store.read_unit(store.commits[unit].unit, ["key"])["key"][rows[0]].as_py()
    return key, sum(map(len, again.values()))
