"""The pairs of a split that can be trained on: looked at once, before training, so that nothing bad is met in it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split, split_of, splits_of_row
from isoenergy.storage.files import open_filesystem
from isoenergy.store.arrays import embedding_rows
from isoenergy.store.contents import StoreContents
from isoenergy.store.manifest import CommitRecord, StoredDtype
from isoenergy.store.shards import Shards

_SHOWN = 3


@dataclass(frozen=True)
class ShardSurvey:
    """What one shard holds of a split."""

    shard: str
    pairs: int
    """Pairs of the split, bad ones included."""
    bad: dict[int, str]
    """Which row, and why it cannot be trained on, by the pair's number among the shard's pairs of the split."""


@dataclass(frozen=True)
class Survey:
    """What some shards hold of a split."""

    shards: list[ShardSurvey]
    sums: dict[str, npt.NDArray[np.float64]] = field(repr=False)
    """`(width,)` sum of the good pairs' unit rows, by modality."""

    @classmethod
    def joined(cls, surveys: Iterable["Survey"]) -> "Survey":
        """Return what surveys of different shards have found together."""
        shards: list[ShardSurvey] = []
        sums: dict[str, npt.NDArray[np.float64]] = {}
        for survey in surveys:
            shards += survey.shards
            sums = {name: sums.get(name, 0) + part for name, part in survey.sums.items()}
        return cls(shards, sums)


def survey_shards(shards: Shards, records: Sequence[CommitRecord], split: Split, splits_given: bool = False) -> Survey:
    """Read some shards of a store whole and look at every pair of the split.

    shards: of the modalities that are looked at. splits_given: the split does not follow from the key.
    Raises InputError, naming the shard and what is wrong with it, if it is not the file that was committed, lacks a
    column, has another width, repeats a key, or has pairs in a split that is not that of their key.
    """
    filesystem, root = open_filesystem(shards.uri)
    widths = shards.widths
    found: list[ShardSurvey] = []
    sums = {name: np.zeros(width) for name, width in widths.items()}
    for record in records:
        uri = f"{shards.uri}/shards/{record.shard}"
        table = _read_committed(shards, filesystem, f"{root}/shards/{record.shard}", record, uri)
        _check_keys(table, uri, splits_given)
        numbers = np.flatnonzero(table["split"].to_numpy() == split)
        table = table.take(pa.array(numbers))
        bad: dict[int, str] = {}
        unit = {name: _unit_rows(table, name, width, uri, bad) for name, width in widths.items()}
        good = np.ones(len(table), bool)
        good[list(bad)] = False
        for name, rows in unit.items():
            sums[name] += rows[good].sum(axis=0, dtype=np.float64)
        named = {row: f"row {numbers[row]}, key {table['key'][row].as_py()!r}: {bad[row]}" for row in sorted(bad)}
        found.append(ShardSurvey(record.shard, len(table), named))
    return Survey(found, sums)


@dataclass(frozen=True)
class PairIndex:
    """Which shards hold how many good pairs of a split, in the store's order; the readers' only map."""

    store: str
    fingerprint: str
    """The store's."""
    split: Split
    widths: Mapping[str, int]
    """Of the modalities that are read, in order."""
    dtype: StoredDtype
    shards: tuple[str, ...]
    counts: tuple[int, ...]
    """Good pairs in each shard."""
    skipped: Mapping[str, tuple[int, ...]]
    """Numbers of the pairs left out, by shard, among its pairs of the split."""
    means: Mapping[str, tuple[float, ...]]
    """`(width,)` mean of the unit rows, by modality."""
    view_of: str = ""
    """Where the files lie that the vectors are in, if the store is a view."""

    @classmethod
    def collect(
        cls, store: StoreContents, split: Split, surveys: Iterable[Survey], skip_bad_rows: bool = False
    ) -> Self:
        """Return the index that the surveys of all the store's shards make, in the store's order.

        Raises InputError, naming shard and row, if a pair is bad, unless bad ones are to be skipped.
        """
        survey = Survey.joined(surveys)
        found = {shard.shard: shard for shard in survey.shards}
        shards, sums = [found[record.shard] for record in store.commits], survey.sums
        if not skip_bad_rows:
            _require_none_bad(store, shards)
        kept = [shard for shard in shards if shard.pairs > len(shard.bad)]
        counts = tuple(shard.pairs - len(shard.bad) for shard in kept)
        if not kept:
            raise InputError(f"{store.uri} has no pairs in its {split} split that can be used; it takes more pairs")
        return cls(
            store=store.uri,
            fingerprint=store.fingerprint,
            split=split,
            widths={name: len(total) for name, total in sums.items()},
            dtype=store.manifest.dtype,
            shards=tuple(shard.shard for shard in kept),
            counts=counts,
            skipped={shard.shard: tuple(shard.bad) for shard in kept if shard.bad},
            means={name: tuple((total / sum(counts)).tolist()) for name, total in sums.items()},
            view_of=store.manifest.view_of,
        )

    @classmethod
    def build(cls, store: StoreContents, split: Split, skip_bad_rows: bool = False) -> Self:
        """Survey every shard in this process."""
        manifest = store.manifest
        surveys = (
            survey_shards(Shards.of(store.uri, manifest), [record], split, manifest.splits_given)
            for record in store.commits
        )
        return cls.collect(store, split, surveys, skip_bad_rows)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return int(self.starts[-1])

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """`(shards + 1,)`: the number of each shard's first pair; the last entry is the number of pairs."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    @property
    def nbytes(self) -> int:
        """Bytes of all pairs' embeddings, as stored."""
        return len(self) * sum(self.widths.values()) * np.dtype(self.dtype).itemsize

    def only(self, modality: str) -> Self:
        """Return the index of one modality's rows."""
        return replace(self, widths={modality: self.widths[modality]}, means={modality: self.means[modality]})

    def empty_arrays(self, pairs: int) -> dict[str, npt.NDArray[np.floating]]:
        """Return an uninitialised `(pairs, width)` array a modality."""
        return {name: np.empty((pairs, width), self.dtype) for name, width in self.widths.items()}

    @property
    def dim(self) -> int:
        """Width of the widest modality."""
        return max(self.widths.values())

    def to_json(self) -> str:
        """Return the index as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text; raises ValueError, TypeError or KeyError if it is not an index."""
        values: dict[str, Any] = json.loads(text)
        for name in ("shards", "counts"):
            values[name] = tuple(values[name])
        for name in ("skipped", "means"):
            values[name] = {key: tuple(items) for key, items in values[name].items()}
        return cls(**values)


def _read_committed(
    shards: Shards, filesystem: AbstractFileSystem, path: str, record: CommitRecord, uri: str
) -> pa.Table:
    try:
        data = filesystem.cat_file(path)
        if hashlib.sha256(data).hexdigest() != record.shard_sha256:
            raise InputError(
                f"{uri} is not the file that was committed: its SHA-256 differs; run the same `isoenergy embed` again"
            )
        wanted = ["key", "split", *shards.widths]
        there = [*pq.read_schema(pa.BufferReader(data)).names, *(shards.widths if shards.view_of else ())]
        missing = [name for name in wanted if name not in there]
        if missing:
            raise InputError(f"{uri} has no column {', '.join(missing)}; it has {', '.join(there)}")
        return shards.decoded(data, wanted)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{uri} cannot be read ({error}); run the same `isoenergy embed` again") from error


def _check_keys(table: pa.Table, uri: str, splits_given: bool) -> None:
    keys, splits = table["key"].to_pylist(), table["split"].to_pylist()
    for row, (key, split) in enumerate(zip(keys, splits, strict=True)):
        if key is None or (not splits_given and split not in splits_of_row(key)):
            raise InputError(
                f"{uri}, row {row}: key {key!r} is in the {split} split, and belongs to "
                f"{'none' if key is None else split_of(key)}; this shard was not written by `isoenergy embed`"
            )
    repeated = [key for key, count in Counter(keys).items() if count > 1][:_SHOWN]
    if repeated:
        raise InputError(f"{uri} has more than one pair of key {', '.join(map(repr, repeated))}")


def _unit_rows(table: pa.Table, name: str, width: int, uri: str, bad: dict[int, str]) -> npt.NDArray[np.float32]:
    kind = table.schema.field(name).type
    if getattr(kind, "list_size", None) != width:
        raise InputError(f"{uri}: {name} is {kind}, and the store's manifest says that embeddings have width {width}")
    column = table[name]
    if column.null_count:
        raise InputError(f"{uri}, row {column.is_null().index(True).as_py()}: there is no {name} embedding")
    rows = embedding_rows(column, width).astype(np.float32)
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(rows, axis=1)
        unit: npt.NDArray[np.float32] = rows / norms[:, None]
    for row in np.flatnonzero(~np.isfinite(norms)):
        bad.setdefault(int(row), f"{name} is not finite, or too large to be normalised")
    for row in np.flatnonzero(norms == 0):
        bad.setdefault(int(row), f"{name} is zero")
    return unit


def _require_none_bad(store: StoreContents, shards: Sequence[ShardSurvey]) -> None:
    faults = [f"{store.uri}/shards/{shard.shard}, {why}" for shard in shards for why in shard.bad.values()]
    if faults:
        shown = "; ".join(faults[:_SHOWN]) + "; …" * (len(faults) > _SHOWN)
        raise InputError(
            f"{len(faults)} pair{'s' * (len(faults) > 1)} cannot be trained on: {shown}; mend the store, or give "
            f"--skip-bad-rows to leave them out"
        )
