"""Which pairs are measured, and how they are read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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
from isoenergy.store.manifest import StoredDtype
from isoenergy.store.shards import Shards

NOT_IDENTITY = {"identity": False}
"""Marks a field that says where something lies or follows from others: a step's fingerprint leaves it out."""
READ_ROWS = 8192
"""Rows worked on at a time."""

Inputs = Mapping[str, Path]
Result = dict[str, Any]
Rows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class StoreReference:
    """A split of an embedding store, or all of it, and how its shards are read: a step does not open the store."""

    uri: str = field(metadata=NOT_IDENTITY)
    fingerprint: str
    split: Pairs
    widths: tuple[tuple[str, int], ...] = field(metadata=NOT_IDENTITY)
    """Name and width of each modality; the fingerprint decides them."""
    view_of: str = field(default="", metadata=NOT_IDENTITY)
    """Where the files lie that the vectors are in, if the store is a view."""
    dtype: StoredDtype = field(default="float32", metadata=NOT_IDENTITY)

    @classmethod
    def of(cls, store: EmbeddingStore, split: Pairs) -> Self:
        """Return the reference of a store that is open."""
        manifest = store.manifest
        widths = tuple(manifest.modalities.items())
        return cls(store.uri, store.fingerprint, split, widths, manifest.view_of, manifest.dtype)

    @property
    def dim(self) -> int:
        """Width of the widest modality."""
        return max(width for _, width in self.widths)

    @property
    def shards(self) -> Shards:
        """What reads its shards."""
        return Shards(self.uri, dict(self.widths), self.view_of, self.dtype)


@dataclass(frozen=True, slots=True)
class UnitRows:
    """A unit of a store, as whoever opened that has told."""

    unit: str
    shard: str = field(metadata=NOT_IDENTITY)
    """Name of its shard."""
    file: str = field(metadata=NOT_IDENTITY)
    """Where its pairs came from."""
    pairs: int = field(metadata=NOT_IDENTITY)
    """How many of the split it has."""


@dataclass(frozen=True)
class SaeReference:
    """A sparse autoencoder."""

    uri: str = field(metadata=NOT_IDENTITY)
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
    units: tuple[UnitRows, ...]
    first_pair: int
    seed: int
    """Decides the bootstrap's weights."""

    def read(self) -> Iterator[tuple[int, Rows, Rows]]:
        """Yield images and texts as stored, `(rows, dim)`, a few thousand at a time, and the first one's number."""
        self.store.shards.require_pairs_of_one_width()
        for first, vectors in self.vectors():
            images, texts = vectors.values()
            yield first, images, texts

    def vectors(self) -> Iterator[tuple[int, dict[str, Rows]]]:
        """Yield vectors as stored, `(rows, width)` by modality, as `read` does images and texts."""
        shards = self.store.shards
        for first, unit in self.numbered():
            vectors = shards.vectors(unit.shard, self.store.split)
            pairs = len(next(iter(vectors.values())))
            if pairs != unit.pairs:
                raise InputError(
                    f"{self.store.uri}/shards/{unit.shard} has {pairs} pairs, and had {unit.pairs} when the evaluation "
                    f"was planned; the store was changed: evaluate again"
                )
            for start in range(0, pairs, READ_ROWS):
                yield first + start, {name: rows[start : start + READ_ROWS] for name, rows in vectors.items()}

    def numbered(self) -> Iterator[tuple[int, UnitRows]]:
        """Yield the units, and the number of the first pair of each."""
        first = self.first_pair
        for unit in self.units:
            yield first, unit
            first += unit.pairs


def split_units(store: EmbeddingStore, split: Pairs) -> Iterator[UnitRows]:
    """Yield the units that have pairs of a split, in the store's order."""
    for record in store.commits:
        if pairs := record.pairs_in(split):
            yield UnitRows(record.unit, record.shard, record.file, pairs)


def read_places(parts: Iterable[PartConfig], wanted: npt.NDArray[np.int64]) -> pa.Table:
    """Return the pairs among `wanted`, ascending numbers, that lie in some parts, in order; only those are read.

    The columns are `pair`, `key`, `caption`, and where the pair came from: `file` and `row`.
    """
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
    for part in parts:
        shards = part.store.shards
        for first, unit in part.numbered():
            chosen = wanted[slice(*np.searchsorted(wanted, (first, first + unit.pairs)))]
            if len(chosen):
                table = shards.table(unit.shard, ["key", "caption", "row"], part.store.split).take(chosen - first)
                columns = table.append_column("pair", pa.array(chosen))
                columns = columns.append_column("file", [[unit.file] * len(table)])
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
