"""A process that writes a Lance dataset and is killed when it comes to a store's last shard: STORE OUTPUT."""

import os
import signal
import sys
from dataclasses import dataclass

import pyarrow as pa

from isoenergy.pairs.splits import Pairs
from isoenergy.store import EmbeddingStore
from isoenergy.store.shards import Shards
from workflows.applying.lance_dataset import write_dataset


@dataclass(frozen=True)
class DeadlyShards(Shards):
    """Kills its process where one is read."""

    deadly: str = ""

    def table(self, shard: str, columns: list[str] | None = None, split: Pairs = "all") -> pa.Table:
        if shard == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().table(shard, columns, split)


if __name__ == "__main__":
    store = EmbeddingStore.open(sys.argv[1])
    store.shards = DeadlyShards(store.uri, store.manifest.modalities, deadly=store.commits[-1].shard)
    write_dataset(store, sys.argv[2])
