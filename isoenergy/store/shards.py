"""Reading shards of a store by their names, as whoever opened it has told: nothing else of it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.splits import Pairs
from isoenergy.storage.files import open_filesystem
from isoenergy.store.arrays import PairArrays, embedding_rows


@dataclass(frozen=True)
class Shards:
    """The shards of a store. Pickles small."""

    uri: str
    widths: Mapping[str, int]
    """Width of each modality by its column, in order."""

    def table(self, shard: str, columns: list[str] | None = None, split: Pairs = "all") -> pa.Table:
        """Return some columns of a shard, the pairs of one split; see `isoenergy.store.schema`.

        With its embeddings a shard takes one request, without them those for its footer and the columns.
        Raises InputError if it cannot be read.
        """
        chosen = None if split == "all" else [("split", "=", split)]
        filesystem, root = self._place
        path = f"{root}/shards/{shard}"
        try:
            if columns is None or set(columns) & set(self.widths):
                return pq.read_table(pa.BufferReader(filesystem.cat_file(path)), columns=columns, filters=chosen)
            with filesystem.open(path, "rb") as stream:
                return pq.read_table(stream, columns=columns, filters=chosen)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"shard {path} cannot be read ({error}); run the same `isoenergy embed` again") from error

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
