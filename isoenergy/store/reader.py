"""Reading a store."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.splits import SPLITS, Pairs, Split
from isoenergy.storage.files import open_filesystem, without_secrets
from isoenergy.store.arrays import PairArrays
from isoenergy.store.commit_index import CommitIndex
from isoenergy.store.contents import StoreContents
from isoenergy.store.index import PairIndex
from isoenergy.store.manifest import VECTORS, CommitRecord, Manifest
from isoenergy.store.shards import Shards
from isoenergy.store.writer import StoreWriter

if TYPE_CHECKING:  # needs torch
    from isoenergy.store.batches import PairBatches

_SHARDS_AT_ONCE = 8
_SHOWN = 3


_LOG = logging.getLogger(__name__)


class EmbeddingStore(StoreContents):
    """A store on any filesystem that fsspec opens: `shards`, `rejected`, `commits` and `manifest.json`."""

    def __init__(
        self, uri: str, filesystem: AbstractFileSystem, root: str, manifest: Manifest, commits: list[CommitRecord]
    ) -> None:
        super().__init__(uri, manifest, commits)
        self._filesystem, self._root = filesystem, root
        self._records = {record.unit: record for record in commits}
        self.shards = Shards.of(self.uri, manifest)

    @classmethod
    def open(cls, uri: str) -> Self:
        """Read the manifest and the index, and commit records only where the index may not have all.

        Of a store that a run has finished and that has no index, one is made.
        Raises InputError if there is no store at `uri`, or its manifest is unreadable.
        """
        filesystem, root = open_filesystem(uri)
        try:
            manifest = Manifest.from_json(filesystem.cat_file(f"{root}/manifest.json").decode())
        except (FileNotFoundError, NotADirectoryError) as error:
            why = "it has no manifest.json" if filesystem.isdir(root) else "nothing is there"
            if filesystem.isfile(root):
                why = "it is a file"
            raise InputError(
                f"{uri} is not an embedding store: {why}; make one of pairs with `isoenergy embed`, or of embeddings "
                f"with `isoenergy import`"
            ) from error
        except (ValueError, TypeError) as error:
            raise InputError(f"{uri}/manifest.json is not a manifest ({error})") from error
        index = CommitIndex.read(filesystem, root)
        records = index.records
        if not index.settled or len(index) < manifest.units:
            writer = StoreWriter(uri)
            records = writer.committed()
            if not index.generation and len(records) >= manifest.units and writer.has_summary():
                _keep_index(writer)
        return cls(uri, filesystem, root, manifest, sorted(records.values(), key=lambda record: record.unit))

    def require_complete(self) -> None:
        """Raise InputError unless every unit of the source is committed."""
        missing = self.manifest.units - len(self.commits)
        if missing > 0:
            spoilt = [r.shard for unit, r in StoreWriter(self.uri).records().items() if unit not in self._records]
            named = ", ".join(f"shards/{shard}" for shard in sorted(spoilt)[:_SHOWN])
            why = f" ({named}{', …' * (len(spoilt) > _SHOWN)}: gone, or not what was committed)" if spoilt else ""
            raise InputError(
                f"{self.uri} lacks {missing} of its {self.manifest.units} units{why}; run the same "
                f"`isoenergy {self.manifest.stage}` again for what is missing"
            )

    def read_unit(self, unit: str, columns: list[str] | None = None, split: Pairs = "all") -> pa.Table:
        """Return one unit's shard: some of its columns, the pairs of one split; see `isoenergy.store.schema`."""
        return self.shards.table(self._records[unit].shard, columns, split)

    def read_file(self, name: str) -> bytes:
        """Return one of the store's files whole; raises OSError if it cannot be read."""
        content: bytes = self._filesystem.cat_file(f"{self._root}/{name}")
        return content

    def read_unit_vectors(self, unit: str, split: Pairs = "all") -> dict[str, npt.NDArray[np.floating]]:
        """Return one unit's embeddings, `(pairs, width)` by modality."""
        return self.shards.vectors(self._records[unit].shard, split)

    def read_unit_arrays(self, unit: str, split: Pairs = "all") -> PairArrays:
        """Return one unit's keys and embeddings: those of the first modality as images, of the second as texts.

        Raises InputError if there are more than two, or they differ in width.
        """
        return self.shards.pairs(self._records[unit].shard, split)

    def captions(self, split: Split) -> pa.ChunkedArray | None:
        """Return the captions of a split's pairs, in the order of units and rows; None if keys stand in for them."""
        if self.manifest.source_format == VECTORS and not self.manifest.columns.get("caption"):
            return None
        with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
            parts = pool.map(lambda record: self.read_unit(record.unit, ["caption"], split)["caption"], self.commits)
            return pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())

    def to_arrays(self, split: Split | None = None) -> PairArrays:
        """Return all pairs of a split (default: all), in the order of units and rows.

        Raises InputError for an unknown split, or one with no pairs.
        """
        if split is not None and split not in SPLITS:
            raise InputError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
        parts = [self.read_unit_arrays(record.unit, split or "all") for record in self.commits]
        if not sum(len(part) for part in parts):
            raise InputError(f"{self.uri} has no pairs in its {split or 'whole'} split; it takes more pairs")
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


def _keep_index(writer: StoreWriter) -> None:
    try:
        writer.fold()
    except OSError as error:
        _LOG.warning(
            "store: %s has no index and cannot be written (%s): its commit records are read one by one each time; "
            "whoever may write there opens it once, as by `isoenergy inspect`",
            without_secrets(writer.uri),
            error,
        )
