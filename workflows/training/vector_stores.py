"""Paired vectors where a store is asked for: the store that is made of them, in the output, is what is worked on."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from tqdm import tqdm

from isoenergy.errors import InputError
from isoenergy.pairs.duplicates import key_places, repeated
from isoenergy.pairs.source import PairUnit
from isoenergy.storage.files import absolute_uri, without_secrets
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.paired_vectors import VectorFiles, holds_vectors
from workflows.cluster import engine

_LOG = logging.getLogger(__name__)
_FILES_AT_ONCE = 32
_ROWS_OF_THE_DRIVER = 100_000
"""It looks at these in the time in which a worker starts."""
STORE = "store"


def store_of(uri: str, modalities: str, output: str, skip_bad_rows: bool = False, dry_run: bool = False) -> str | None:
    """Return the URI of the store at `uri`; of vectors in Parquet, of that which is made of them in `output`.

    modalities: columns to take, with commas between; none: all that hold vectors. What is copied already is not copied
    again. Returns None, and prints what there is, if it is a dry run and the store is not whole.
    Raises InputError, naming file, row and column, for what cannot be used, and for files that have changed since.
    """
    names = tuple(name.strip() for name in modalities.split(",") if name.strip())
    if not holds_vectors(uri):
        if names and (there := tuple(EmbeddingStore.open(uri).manifest.modalities)) != names:
            raise InputError(f"{uri} is a store of {', '.join(there)}; --modalities chooses among columns of vectors")
        return uri
    files = VectorFiles(uri, names)
    made = f"{absolute_uri(output)}/{STORE}"
    writer, manifest, units = StoreWriter(made), files.manifest(), files.units()
    committed = writer.committed() if writer.holds(manifest) else {}
    _require_unchanged(files, writer, skip_bad_rows)
    missing = [unit for unit in units if unit.name not in committed]
    if not missing and writer.has_summary():
        return made
    what = ", ".join(f"{name} ({width})" for name, width in files.widths.items())
    told = f"vectors: {sum(files.rows.values()):,} rows of {what} in {without_secrets(uri)}; to {made}"
    if dry_run:
        print(f"{told}\n         the rest of the plan follows once they are copied")
        return None
    _LOG.info(told)
    writer.begin(manifest, files.files)
    _copy_all(files, writer, missing, skip_bad_rows)
    writer.settle(manifest.units)
    store = EmbeddingStore.open(made)
    store.require_complete()
    if left_out := sum(store.rejected.values()):
        _LOG.warning("vectors: %d bad rows are left out; %s/rejected names them", left_out, made)
    if files.key:
        _require_different_keys(store)
    writer.write_summary(json.dumps({"rows": store.rows_in, "rejected": store.rejected}))  # now it is known to be sound
    return made


def _require_unchanged(files: VectorFiles, writer: StoreWriter, skip_bad_rows: bool) -> None:
    records = list(writer.committed().values())
    digests = {record.file: record.file_digest for record in records}
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        here = [file for file in digests if file in files.rows]
        now = dict(zip(here, pool.map(files.file_digest, here), strict=True))
    if changed := [file for file, digest in digests.items() if now.get(file) != digest]:
        raise InputError(
            f"{changed[0]} of {without_secrets(files.uri)} is not what {writer.uri} was made of; give another --output"
        )
    if not skip_bad_rows and (bad := sum(record.rejected for record in records)):
        raise InputError(f"{writer.uri} was made without {bad} bad rows; give --skip-bad-rows, or another --output")


def _copy_all(files: VectorFiles, writer: StoreWriter, units: Sequence[PairUnit], skip_bad_rows: bool) -> None:
    """Copy what is missing, a file a task; few rows are copied by this process."""
    by_file: dict[str, list[PairUnit]] = {}
    for unit in units:
        by_file.setdefault(unit.file, []).append(unit)
    with tqdm(total=len(by_file), desc="copy vectors", unit=" files", leave=False, delay=2) as bar:
        if sum(files.rows[file] for file in by_file) <= _ROWS_OF_THE_DRIVER:
            for some in by_file.values():
                _copy(files, writer, some, skip_bad_rows)
                bar.update()
            return
        engine.connect()
        run: Any = ray.remote(num_cpus=1, max_retries=3)(_copy)
        reference = ray.put(files)
        pending = [run.remote(reference, writer, some, skip_bad_rows) for some in by_file.values()]
        for task in pending:
            ray.get(task)
            bar.update()


def _copy(files: VectorFiles, writer: StoreWriter, units: Sequence[PairUnit], skip_bad_rows: bool) -> None:
    """Commit some units of one file."""
    try:
        digest = files.file_digest(units[0].file)
        for rows in files.read(units[0].file, units, skip_bad_rows):
            writer.commit(rows.unit, digest, rows.shard, rows.rejected)
    except OSError as error:
        raise InputError(
            f"{units[0].file} cannot be copied to {writer.uri} ({error}); make room or give another --output: the same "
            f"command goes on from what is copied"
        ) from error


def _require_different_keys(store: EmbeddingStore) -> None:
    """Raise InputError if a key stands twice; holds 28 bytes a row, on a worker if they are many."""
    if len(store) <= _ROWS_OF_THE_DRIVER:
        found = _first_repeated(store)
    else:
        engine.connect()
        found = ray.get(ray.remote(num_cpus=1)(_first_repeated).remote(store))
    if found:
        raise InputError(
            f"{found[1]} rows of {store.manifest.source} have a key that stands before, such as {found[0]!r}"
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
