"""Pairs that a notebook names by their place: a store's, or those of files of vectors, which are read into memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from isoenergy.errors import InputError
from isoenergy.pairs.duplicates import key_places, repeated
from isoenergy.pairs.source import cut
from isoenergy.pairs.splits import Split
from isoenergy.store.arrays import embedding_rows
from isoenergy.store.index import PairIndex
from isoenergy.store.key_faults import FaultyKeys, KeyFault, added
from isoenergy.store.paired_vectors import ROWS_A_UNIT, VectorFiles, VectorRows
from isoenergy.store.reader import EmbeddingStore
from isoenergy.store.row_sources import read_rows
from isoenergy.store.vector_sources import holds_vectors, open_vectors

_OR_IMPORT = "mend the files, or let `isoenergy import --skip-bad-rows` make a store without such rows, and give that"


@dataclass(frozen=True)
class GivenPairs:
    """The pairs of a split, in memory."""

    arrays: dict[str, npt.NDArray[np.floating]]
    """`(pairs, width)` by modality, as stored."""
    captions: pa.ChunkedArray | None

    @classmethod
    def at(cls, place: EmbeddingStore | str | Path, split: Split) -> Self:
        """Read them from a store, or from what `isoenergy import` makes one of: it would hold the same.

        Raises InputError, naming file and row, for what is neither, for a bad row, and for no pairs in the split.
        """
        if not isinstance(place, EmbeddingStore):
            if holds_vectors(str(place)):
                return cls.of_files(str(place), split)
            place = EmbeddingStore.open(str(place))
        return cls(read_rows(PairIndex.build(place, split)), place.captions(split))

    @classmethod
    def of_files(cls, uri: str, split: Split) -> Self:
        """Read them from files of vectors; raises InputError as `at` does."""
        files = open_vectors(uri)
        if faults := added([*(fault for file in files.files for fault in files.faulty_keys(file)), *_repeated(files)]):
            raise InputError(f"{'; '.join(map(str, faults))}; {_OR_IMPORT}")
        shards = [_of_split(rows, split) for file in files.files for rows in _read(files, file)]
        table = pa.concat_tables(shards)
        if not len(table):
            raise InputError(f"{files.uri} has no pairs in the {split} split, which keys choose: it needs more rows")
        arrays = {
            name: np.concatenate([embedding_rows(shard[name], width) for shard in shards])
            for name, width in files.columns.widths.items()
        }
        return cls(arrays, table["caption"] if files.columns.caption else None)

    def two(self, what: str) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Return images and texts; raises InputError, saying what takes them, unless there are two modalities."""
        if len(self.arrays) != 2:
            raise InputError(f"{what} takes pairs, and there is {', '.join(self.arrays)}; give two modalities")
        images, texts = self.arrays.values()
        return images, texts


def _repeated(files: VectorFiles) -> list[FaultyKeys]:
    if not files.keys_may_repeat:
        return []
    places = [part for number, file in enumerate(files.files) for part in key_places(files.keys(file), number, 1)]
    again = repeated(places)
    first = min(again, default=0)
    rows = sum(map(len, again.values()))
    return [FaultyKeys(KeyFault.REPEATED, rows, files.named(files.files[first], min(again[first])))] if rows else []


def _read(files: VectorFiles, file: str) -> list[VectorRows]:
    return list(files.read(file, cut(file, files.rows[file], ROWS_A_UNIT), skip_bad_rows=True))


def _of_split(rows: VectorRows, split: Split) -> pa.Table:
    if bad := rows.rejected.to_pylist():
        more = f", and so are {len(bad) - 1} more" * (len(bad) > 1)
        raise InputError(f"{bad[0]['file']}, row {bad[0]['row']}: {bad[0]['detail']}{more}; {_OR_IMPORT}")
    return rows.shard.filter(pa.array([own == split for own in rows.shard["split"].to_pylist()], pa.bool_()))
