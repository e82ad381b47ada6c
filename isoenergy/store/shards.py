"""Reading shards of a store by their names, as whoever opened it has told: nothing else of it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.splits import Pairs
from isoenergy.storage.files import open_filesystem
from isoenergy.store.arrays import PairArrays, embedding_rows
from isoenergy.store.manifest import Manifest, StoredDtype


@dataclass(frozen=True)
class Shards:
    """The shards of a store. Pickles small."""

    uri: str
    widths: Mapping[str, int]
    """Width of each modality by its column, in order."""
    view_of: str = ""
    """Where the files lie that the vectors are in, if the store is a view."""
    dtype: StoredDtype = "float32"
    """Of a view's vectors."""

    @classmethod
    def of(cls, uri: str, manifest: Manifest) -> Self:
        """Return all modalities of the store at `uri`."""
        return cls(uri, manifest.modalities, manifest.view_of, manifest.dtype)

    def table(self, shard: str, columns: list[str] | None = None, split: Pairs = "all") -> pa.Table:
        """Return some columns of a shard, the pairs of one split; see `isoenergy.store.schema`.

        With its embeddings a shard takes one request, without them those for its footer and the columns.
        Raises InputError if it cannot be read.
        """
        filesystem, root = self._place
        path = f"{root}/shards/{shard}"
        try:
            if columns is None or set(columns) & set(self.widths):
                return self.decoded(filesystem.cat_file(path), columns, split)
            with filesystem.open(path, "rb") as stream:
                return pq.read_table(stream, columns=columns, filters=_of(split))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"shard {path} cannot be read ({error}); run the same `isoenergy embed` again") from error

    def decoded(
        self, data: bytes, columns: list[str] | None = None, split: Pairs = "all", use_threads: bool = True
    ) -> pa.Table:
        """Return what `table` does, of a shard's file that was read already: all that takes vectors of it comes here.

        A view's vectors are read from the files that they lie in, a range of rows of each, and looked at.
        Raises pyarrow.ArrowException if it is no shard, or lacks a column; InputError, naming the file, for vectors of
        a view that are no longer those that it was made of.
        """
        if self.view_of:
            from isoenergy.store.lent_columns import with_vectors  # formats of all kinds, for views alone

            return with_vectors(data, self.view_of, self.widths, self.dtype, columns, split, use_threads)
        return pq.read_table(pa.BufferReader(data), columns=columns, filters=_of(split), use_threads=use_threads)

    def vectors(self, shard: str, split: Pairs = "all") -> dict[str, npt.NDArray[np.floating]]:
        """Return a shard's embeddings, `(pairs, width)` by modality."""
        table = self.table(shard, list(self.widths), split)
        return {name: embedding_rows(table[name], width) for name, width in self.widths.items()}

    def pairs(self, shard: str, split: Pairs = "all") -> PairArrays:
        """Return a shard's keys and embeddings: those of the first modality as images, of the second as texts.

        Raises InputError if there are more than two, or they differ in width.
        """
        self.require_pairs_of_one_width()
        (image, width), (text, _) = self.widths.items()
        table = self.table(shard, ["key", image, text], split)
        keys = np.array(table["key"].to_pylist(), dtype=object)
        return PairArrays(keys, embedding_rows(table[image], width), embedding_rows(table[text], width))

    def require_pairs_of_one_width(self) -> None:
        """Raise InputError unless there are two modalities, of one width: what the paper is about."""
        if len(self.widths) != 2 or len(set(self.widths.values())) > 1:
            raise InputError(
                f"{self.uri} holds {', '.join(f'{name} of width {width}' for name, width in self.widths.items())}; "
                f"this needs two modalities of one width"
            )

    @cached_property
    def _place(self) -> tuple[AbstractFileSystem, str]:
        return open_filesystem(self.uri)


def _of(split: Pairs) -> list[tuple[str, str, str]] | None:
    """What pyarrow filters rows by."""
    return None if split == "all" else [("split", "=", split)]
