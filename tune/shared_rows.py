"""The pairs that all passes train on: read once, one copy a node in Ray's object store, or streamed if too large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
import torch

from isoenergy.distributed import NodeGroup
from isoenergy.store.batches import Batches, PairBatches
from isoenergy.store.index import PairIndex
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows, PairRows, open_rows, read_rows
from isoenergy.training.training_config import TrainingConfig

_SHARE_OF_OBJECT_STORE = 0.5
_SHARE_OF_DEVICE = 0.25


@dataclass(frozen=True)
class SharedRows:
    """The pairs of an index."""

    index: PairIndex
    arrays: dict[str, Any] | None
    """References to `(pairs, dim)` arrays by modality; None: they are streamed from the store."""

    @classmethod
    def share(cls, index: PairIndex) -> "SharedRows":
        """Read the pairs into the object store, unless they take more than half of the smallest node's."""
        stores = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
        if index.nbytes > _SHARE_OF_OBJECT_STORE * min(stores):
            return cls(index, None)
        names = list(index.means)
        read: Any = ray.remote(num_cpus=1, num_returns=len(names))(_read)
        return cls(index, dict(zip(names, read.remote(index), strict=True)))

    def batches(self, device: torch.device) -> Callable[[TrainingConfig], Batches]:
        """Return what gives the batches of a training in this process alone."""
        rows = self._rows(device)

        def of(training: TrainingConfig) -> Batches:
            order = PairOrder(self.index.starts, training.batch_pairs, training.seed, training.window_pairs)
            return PairBatches(order, rows)

        return of

    def _rows(self, device: torch.device) -> PairRows:
        if self.arrays is None:
            return open_rows(self.index, "stream", device, NodeGroup.form())
        rows = ArrayRows(dict(zip(self.arrays, ray.get(list(self.arrays.values())), strict=True)))
        if device.type == "cuda" and self.index.nbytes <= _SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]:
            return rows.on_device(device)
        return rows


def _read(index: PairIndex) -> Any:
    arrays = list(read_rows(index).values())
    return arrays if len(arrays) > 1 else arrays[0]
