"""What was applied, as a Lance dataset: the table of a LanceDB database in a folder."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore

FOLDER, TABLE = "lance", "pairs"
_FINGERPRINT = b"isoenergy.fingerprint"


def require_lance(output: str) -> None:
    """Raise InputError unless a dataset can be written there."""
    if importlib.util.find_spec("lance") is None:
        raise InputError("lance needs the package pylance: pip install 'isoenergy[lance]', or another --layouts")
    if "://" in output.removeprefix("file://"):
        raise InputError(f"lance is written to a folder, and {output} is none; copy the dataset, or leave lance out")
    path = _place(output)
    there = _opened(path)
    if there is not None and _FINGERPRINT not in (there.schema.metadata or {}):
        raise InputError(f"{path} is a dataset that `isoenergy apply` did not make; give another --output")


def write_dataset(store: EmbeddingStore, output: str) -> None:
    """Write all shards of a store into `OUTPUT/lance/pairs.lance`, one after the other, unless it holds just these.

    It is written beside and gets its name at the end: what has the name is whole, whenever a run is killed.
    Raises InputError if it cannot be written.
    """
    import lance

    path = _place(output)
    if _holds(path, store.fingerprint):
        return
    first = store.shards.table(store.commits[0].shard)
    schema = first.schema.with_metadata({_FINGERPRINT: store.fingerprint.encode()})

    def batches() -> Iterator[pa.RecordBatch]:
        for record in store.commits:
            if record.embedded:
                yield from store.shards.table(record.shard).replace_schema_metadata(schema.metadata).to_batches()

    unfinished = path.with_name(f".{TABLE}.unfinished")
    try:
        _remove(unfinished)
        path.parent.mkdir(exist_ok=True)
        lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(unfinished))
        _remove(path)
        unfinished.rename(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error}); all else is there: make room or mend this, and run the same command "
            f"again"
        ) from error


def _place(output: str) -> Path:
    return Path(output.removeprefix("file://")) / FOLDER / f"{TABLE}.lance"


def _opened(path: Path) -> Any:
    """Return the dataset that is there; None if there is none, or no version of it that can be read."""
    import lance

    if not path.is_dir():
        return None
    with suppress(ValueError, OSError):
        return lance.dataset(str(path))
    return None


def _holds(path: Path, fingerprint: str) -> bool:
    """Return whether a dataset is there that was made of the store of a fingerprint, with all of its files."""
    dataset = _opened(path)
    if dataset is None:
        return False
    files = (file.path for fragment in dataset.get_fragments() for file in fragment.data_files())
    made_of = (dataset.schema.metadata or {}).get(_FINGERPRINT)
    return made_of == fingerprint.encode() and all((path / "data" / file).is_file() for file in files)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
