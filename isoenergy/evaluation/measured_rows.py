"""Which pairs are measured, and how they are read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.errors import InputError
from isoenergy.evaluation.draw import Draw
from isoenergy.pairs.splits import Pairs
from isoenergy.store import EmbeddingStore

PLACE = {"identity": False}
"""Marks a field that says where something lies, not what it is: a step's fingerprint leaves it out."""
READ_ROWS = 8192
"""Rows worked on at a time."""

Inputs = Mapping[str, Path]
Result = dict[str, Any]
Rows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class StoreReference:
    """A split of an embedding store, or all of it."""

    uri: str = field(metadata=PLACE)
    fingerprint: str
    split: Pairs


@dataclass(frozen=True)
class SaeReference:
    """A sparse autoencoder."""

    place: str = field(metadata=PLACE)
    digest: str
    """Of its weights and its configuration."""


@dataclass(frozen=True)
class DrawnConfig:
    """Which pairs are drawn, how many that are, and the SAE; None: the embeddings themselves."""

    draw: Draw
    drawn: int
    sae: SaeReference | None = None
    headline: bool = False
    """Only what an evaluation comes to is measured: what further trainings of the same settings are asked."""


@dataclass(frozen=True)
class PartConfig:
    """Units of a store, and where their pairs stand among all pairs of the split."""

    store: StoreReference
    units: tuple[str, ...]
    first_pair: int
    seed: int
    """Decides the bootstrap's weights."""

    def read(self) -> Iterator[tuple[int, Rows, Rows]]:
        """Yield images and texts as stored, `(rows, dim)`, a few thousand at a time, and the first one's number."""
        store, first = EmbeddingStore.open(self.store.uri), self.first_pair
        for unit in self.units:
            arrays = store.read_unit_arrays(unit, self.store.split)
            for start in range(0, len(arrays), READ_ROWS):
                yield first + start, arrays.images[start : start + READ_ROWS], arrays.texts[start : start + READ_ROWS]
            first += len(arrays)

    def unit_starts(self, store: EmbeddingStore) -> Iterator[tuple[int, str, int]]:
        """Yield as `split_units` does, for the units of this part."""
        units = set(self.units)
        return (found for found in split_units(store, self.store.split) if found[1] in units)

    def vectors(self) -> Iterator[tuple[int, dict[str, Rows]]]:
        """Yield vectors as stored, `(rows, width)` by modality, as `read` does images and texts."""
        store, first = EmbeddingStore.open(self.store.uri), self.first_pair
        for unit in self.units:
            vectors = store.read_unit_vectors(unit, self.store.split)
            pairs = len(next(iter(vectors.values())))
            for start in range(0, pairs, READ_ROWS):
                yield first + start, {name: rows[start : start + READ_ROWS] for name, rows in vectors.items()}
            first += pairs


def split_units(store: EmbeddingStore, split: Pairs) -> Iterator[tuple[int, str, int]]:
    """Yield, unit by unit, the number of its first pair of the split, its name, and its number of such pairs."""
    first = 0
    for record in store.commits:
        pairs = record.pairs_in(split)
        yield first, record.unit, pairs
        first += pairs


def read_places(
    store: EmbeddingStore, split: Pairs, units: Iterable[tuple[int, str, int]], wanted: npt.NDArray[np.int64]
) -> pa.Table:
    """Return the pairs among `wanted`, ascending numbers, that lie in some units, in order; only those are read.

    The columns are `pair`, `key`, `caption`, and where the pair came from: `file` and `row`. units: see `split_units`.
    """
    files = {record.unit: record.file for record in store.commits}
    schema = pa.schema(
        [
            ("pair", pa.int64()),
            ("key", pa.string()),
            ("caption", pa.string()),
            ("file", pa.string()),
            ("row", pa.int64()),
        ]
    )
    found = [schema.empty_table()]
    for first, unit, count in units:
        chosen = wanted[slice(*np.searchsorted(wanted, (first, first + count)))]
        if len(chosen):
            table = store.read_unit(unit, ["key", "caption", "row"], split).take(chosen - first)
            columns = table.append_column("pair", pa.array(chosen)).append_column("file", [[files[unit]] * len(table)])
            found.append(columns.select(schema.names).cast(schema))
    return pa.concat_tables(found)


def tensor(rows: Rows) -> Tensor:
    """Return stored rows as float32; InputError if a number is not finite."""
    if not np.isfinite(rows).all():
        number = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(
            f"the store holds embeddings that are not finite (row {number} of {len(rows)} read together); embed those "
            f"pairs again, or leave them out"
        )
    return torch.from_numpy(np.array(rows, np.float32))


def unit_rows(rows: Rows) -> Tensor:
    """Return `(n, dim)` stored embeddings as float32 rows of unit norm."""
    return normalize(tensor(rows), dim=1)
