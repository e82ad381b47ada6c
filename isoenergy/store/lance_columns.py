"""A Lance dataset as a file with columns, through the package `pylance`: the version that was the last when opened."""

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.formats.schemas import plain_schema
from isoenergy.store.column_files import FilePlace, Ranges

SUFFIX = ".lance"
_DATA = "/data/"


@dataclass(frozen=True)
class LanceColumns:
    """A Lance dataset, at one of its versions."""

    at: FilePlace
    rows: int
    schema: pa.Schema
    version: int

    @classmethod
    def of(cls, at: FilePlace) -> "LanceColumns":
        """Read its manifest.

        Raises InputError if `pylance` is not installed, or it is on no disk; OSError or ValueError if it is none.
        """
        dataset = _opened(at)
        return cls(at, dataset.count_rows(), plain_schema(dataset.schema, keep_lengths=True), dataset.version)

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows of this version."""
        return lance_rows(self.at, self.version, ranges, columns)

    @property
    def digest(self) -> str:
        """Which files this version is made of: their names are given once."""
        fragments = [fragment.metadata.to_json() for fragment in _opened(self.at, self.version).get_fragments()]
        return hashlib.sha256(json.dumps(fragments).encode()).hexdigest()


def datasets_among(root: str, files: Sequence[str]) -> list[str]:
    """Return the paths of the Lance datasets, in the folder `root` or it itself, that some of these files belong to."""
    whole = {f"/{file}" for file in files if file.endswith(SUFFIX) and _DATA in f"/{file}"}
    return sorted({f"{root}{file.rpartition(_DATA)[0]}" for file in whole})


def lance_rows(at: FilePlace, version: int, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some rows of a version, range by range. Raises OSError if it has fewer."""
    dataset = _opened(at, version)
    for start, stop in ranges:
        table = dataset.to_table(columns=list(columns), offset=start, limit=stop - start)
        if len(table) < stop - start:
            raise OSError(f"it has no rows {start + len(table):,} to {stop:,}")
        yield table


def _opened(at: FilePlace, version: int | None = None) -> Any:
    if importlib.util.find_spec("lance") is None:
        raise InputError(
            f"{at.shown} is a Lance dataset, which needs the package pylance: pip install isoenergy[lance]"
        )
    if not at.is_local:
        raise InputError(f"{at.shown} is a Lance dataset on no disk, and such are read from a disk: copy it to one")
    import lance

    return lance.dataset(at.path, version=version)
