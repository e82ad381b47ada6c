"""Reading a store."""

from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.splits import SPLITS, Pairs, Split
from isoenergy.storage.files import open_filesystem
from isoenergy.store.arrays import PairArrays, embedding_rows
from isoenergy.store.contents import StoreContents
from isoenergy.store.index import PairIndex
from isoenergy.store.manifest import CommitRecord, Manifest
from isoenergy.store.writer import StoreWriter

if TYPE_CHECKING:  # needs torch
    from isoenergy.store.batches import PairBatches

_SHOWN = 3


class EmbeddingStore(StoreContents):
    """A store on any filesystem that fsspec opens: `shards`, `rejected`, `commits` and `manifest.json`."""

    def __init__(
        self, uri: str, filesystem: AbstractFileSystem, root: str, manifest: Manifest, commits: list[CommitRecord]
    ) -> None:
        super().__init__(uri, manifest, commits)
        self._filesystem, self._root = filesystem, root
        self._records = {record.unit: record for record in commits}

    @classmethod
    def open(cls, uri: str) -> Self:
        """Read the manifest and the commit records.

        Raises InputError if there is no store at `uri`, or its manifest is unreadable.
        """
        filesystem, root = open_filesystem(uri)
        try:
            manifest = Manifest.from_json(filesystem.cat_file(f"{root}/manifest.json").decode())
        except FileNotFoundError as error:
            raise InputError(
                f"{uri} is not an embedding store: it has no manifest.json; make one with `isoenergy embed`"
            ) from error
        except (ValueError, TypeError) as error:
            raise InputError(f"{uri}/manifest.json is not a manifest ({error})") from error
        commits = sorted(StoreWriter(uri).committed().values(), key=lambda record: record.unit)
        return cls(uri, filesystem, root, manifest, commits)

    def require_complete(self) -> None:
        """Raise InputError unless every unit of the source is committed."""
        missing = self.manifest.units - len(self.commits)
        if missing > 0:
            spoilt = [r.shard for unit, r in StoreWriter(self.uri).records().items() if unit not in self._records]
            named = ", ".join(f"shards/{shard}" for shard in sorted(spoilt)[:_SHOWN])
            why = f" ({named}{', …' * (len(spoilt) > _SHOWN)}: gone, or not what was committed)" if spoilt else ""
            raise InputError(
                f"{self.uri} lacks {missing} of its {self.manifest.units} units{why}; run the same `isoenergy embed` "
                f"again to embed what is missing"
            )

    def read_unit(self, unit: str, columns: list[str] | None = None, split: Pairs = "all") -> pa.Table:
        """Return one unit's shard: some of its columns, the pairs of one split; see `isoenergy.store.schema`."""
        chosen = None if split == "all" else [("split", "=", split)]
        path = f"{self._root}/shards/{self._records[unit].shard}"
        try:
            with self._filesystem.open(path, "rb") as stream:
                return pq.read_table(stream, columns=columns, filters=chosen)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"shard {path} cannot be read ({error}); run the same `isoenergy embed` again") from error

    def read_file(self, name: str) -> bytes:
        """Return one of the store's files whole; raises OSError if it cannot be read."""
        content: bytes = self._filesystem.cat_file(f"{self._root}/{name}")
        return content

    def read_unit_vectors(self, unit: str, split: Pairs = "all") -> dict[str, npt.NDArray[np.floating]]:
        """Return one unit's embeddings, `(pairs, width)` by modality."""
        widths = self.manifest.modalities
        table = self.read_unit(unit, list(widths), split)
        return {name: embedding_rows(table[name], width) for name, width in widths.items()}

    def read_unit_arrays(self, unit: str, split: Pairs = "all") -> PairArrays:
        """Return one unit's keys and embeddings: those of the first modality as images, of the second as texts.

        Raises InputError if there are more than two, or they differ in width.
        """
        self.require_pairs_of_one_width()
        (image, width), (text, _) = self.manifest.modalities.items()
        table = self.read_unit(unit, ["key", image, text], split)
        keys = np.array(table["key"].to_pylist(), dtype=object)
        return PairArrays(keys, embedding_rows(table[image], width), embedding_rows(table[text], width))

    def require_pairs_of_one_width(self) -> None:
        """Raise InputError unless there are two modalities, of one width: what the paper is about."""
        widths = self.manifest.modalities
        if len(widths) != 2 or len(set(widths.values())) > 1:
            raise InputError(
                f"{self.uri} holds {', '.join(f'{name} of width {width}' for name, width in widths.items())}; this "
                f"needs two modalities of one width"
            )

    def to_arrays(self, split: Split | None = None) -> PairArrays:
        """Return all pairs of a split (default: all), in the order of units and rows.

        Raises InputError for an unknown split, or one with no pairs.
        """
        if split is not None and split not in SPLITS:
            raise InputError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
        parts = [self.read_unit_arrays(record.unit, split or "all") for record in self.commits]
        if not sum(len(part) for part in parts):
            raise InputError(f"{self.uri} has no pairs in its {split or 'whole'} split; embed more pairs")
        return PairArrays(
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.texts for part in parts]),
        )

    def batches(self, split: Split, batch_pairs: int, seed: int, rank: int = 0, workers: int = 1) -> "PairBatches":
        """Return the deterministic batches of a split, held in memory; one worker's share of each.

        Raises InputError, naming shard and row, for pairs that cannot be trained on.
        """
        from isoenergy.store.batches import PairBatches  # needs torch, and most readers do not

        return PairBatches.of_index(PairIndex.build(self, split), batch_pairs, seed, rank, workers)
