"""Where batches take their pairs from: memory that a node's processes share, a device, or the store's shards."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.settings.residence import Residence
from isoenergy.storage.files import open_filesystem
from isoenergy.store.arrays import embedding_rows
from isoenergy.store.index import PairIndex
from isoenergy.store.order import Positions
from isoenergy.store.shards import Shards

Arrays = dict[str, npt.NDArray[np.floating]]

_SHARE_OF_MEMORY = 0.5
_READERS = 4
_KEPT_PAIRS = 2**17


class PairRows(Protocol):
    """Raw embeddings, by the number of their pair."""

    at_once: int | None
    """Batches that are best taken at a time; None: a whole window."""

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of each modality, in the order in which `take` has them."""
        ...

    def take(self, positions: Positions) -> dict[str, Tensor]:
        """Return the pairs of `positions`, `(…,)`, by modality: `(…, width)` as stored."""
        ...


class ArrayRows:
    """Pairs in memory."""

    at_once: int | None = 4

    def __init__(self, arrays: Arrays) -> None:
        """Take a `(pairs, width)` array a modality; row i of each belongs to pair i."""
        if len({len(array) for array in arrays.values()}) > 1:
            raise InputError(f"rows must pair up, got {', '.join(f'{len(a)} of {n}' for n, a in arrays.items())}")
        self._arrays = arrays

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of each modality."""
        return {name: array.shape[1] for name, array in self._arrays.items()}

    def take(self, positions: Positions) -> dict[str, Tensor]:
        """Return some pairs; on one thread, which leaves the others to what trains."""
        return {name: torch.from_numpy(np.take(array, positions, axis=0)) for name, array in self._arrays.items()}

    def on_device(self, device: torch.device) -> "DeviceRows":
        """Return a copy on a device."""
        return DeviceRows({name: torch.from_numpy(array).to(device) for name, array in self._arrays.items()})


class DeviceRows:
    """Pairs on a device."""

    at_once: int | None = 1

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """Take a `(pairs, width)` tensor a modality."""
        self._tensors = tensors

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of each modality."""
        return {name: tensor.shape[1] for name, tensor in self._tensors.items()}

    def take(self, positions: Positions) -> dict[str, Tensor]:
        """Return some pairs, on the device."""
        taken = {}
        for name, tensor in self._tensors.items():
            index = in_pinned_memory(torch.from_numpy(positions.ravel())).to(tensor.device, non_blocking=True)
            taken[name] = tensor.index_select(0, index).view(*positions.shape, -1)
        return taken


class ShardRows:
    """Pairs read from the store's shards as they are asked for, each shard once for as long as it is needed."""

    at_once: int | None = None

    def __init__(self, index: PairIndex) -> None:
        """Read nothing yet."""
        self._index = index
        self._shards = ShardReader(index)
        self._unfinished: OrderedDict[int, tuple[_Shard, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def widths(self) -> Mapping[str, int]:
        """Width of each modality."""
        return self._index.widths

    def take(self, positions: Positions) -> dict[str, Tensor]:
        """Return some pairs, reading several shards at a time."""
        flat = positions.ravel()
        shard_of = np.searchsorted(self._index.starts, flat, side="right") - 1
        order = np.argsort(shard_of, kind="stable")
        shards, firsts = np.unique(shard_of[order], return_index=True)
        out = self._index.empty_arrays(len(flat))

        def fill(shard: int, places: npt.NDArray[np.int64]) -> None:
            with self._lock:
                there = self._unfinished.pop(shard, None)
            rows, given = there if there is not None else (self._shards.read(shard), 0)
            rows.copy(flat[places] - self._index.starts[shard], out, places)
            if given + len(places) < self._index.counts[shard]:
                self._keep(shard, rows, given + len(places))

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fill, shards.tolist(), np.split(order, firsts[1:])))
        return {name: torch.from_numpy(array).view(*positions.shape, -1) for name, array in out.items()}

    def _keep(self, shard: int, rows: "_Shard", given: int) -> None:
        """Keep a shard that gave some of its pairs, and forget those that were used longest ago if that is too much."""
        with self._lock:
            self._unfinished[shard] = rows, given
            kept = sum(self._index.counts[each] for each in self._unfinished)
            while kept > _KEPT_PAIRS:
                kept -= self._index.counts[self._unfinished.popitem(last=False)[0]]


@dataclass(frozen=True)
class _Shard:
    """A decoded shard; `places` are the rows of the split's good pairs in it."""

    arrays: Arrays
    places: npt.NDArray[np.int64]

    def copy(self, pairs: npt.NDArray[np.int64], out: Arrays, places: npt.NDArray[np.int64] | slice) -> None:
        """Put some of the good pairs, by their number in the shard, to `places` of `out`."""
        for name, array in self.arrays.items():
            out[name][places] = array[self.places[pairs]]


class ShardReader:
    """Decodes shards by their number in an index."""

    def __init__(self, index: PairIndex) -> None:
        """Read nothing yet."""
        self._index = index
        self._shards = Shards(index.store, index.widths, index.view_of, index.dtype)
        self._filesystem, self._root = open_filesystem(index.store)

    def read(self, number: int) -> _Shard:
        """Return a shard; raises InputError if it is gone, or not what the index says."""
        name = self._index.shards[number]
        place = f"{self._index.store}/shards/{name}"
        try:
            data = self._filesystem.cat_file(f"{self._root}/shards/{name}")
            table = self._shards.decoded(data, ["split", *self._index.widths], use_threads=False)
            places = np.flatnonzero(table["split"].to_numpy() == self._index.split)
            places = np.delete(places, list(self._index.skipped.get(name, ())))
            widths = self._index.widths
            for modality, width in widths.items():
                kind = table.schema.field(modality).type
                if (kind.list_size, kind.value_type) != (width, pa.from_numpy_dtype(self._index.dtype)):
                    raise ValueError(f"{modality} is {kind}, not {self._index.dtype}[{width}]")
            arrays = {modality: embedding_rows(table[modality], width) for modality, width in widths.items()}
        except (OSError, pa.ArrowException, KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(f"{place} cannot be read ({error}); see `isoenergy inspect --verify`") from error
        if len(places) != self._index.counts[number]:
            raise InputError(
                f"{place} has {len(places)} pairs, and had {self._index.counts[number]} when training began; the store "
                f"was changed: start anew with another output"
            )
        return _Shard(arrays, places)


def open_rows(index: PairIndex, residence: Residence, device: torch.device, node: NodeGroup) -> PairRows:
    """Return the pairs of an index where `residence` says; auto: on the device or in memory, if they take half of it.

    All processes of `node` must call it together: pairs in memory are there once.
    """
    if residence == "auto":
        residence = _residence(index, device, node)
    if residence == "stream":
        return ShardRows(index)
    rows = ArrayRows(_shared_arrays(index, node))
    return rows.on_device(device) if residence == "device" else rows


def in_pinned_memory(tensor: Tensor) -> Tensor:
    """Return a tensor from which a GPU, if there is one, copies without anyone waiting for it."""
    return tensor.pin_memory() if torch.cuda.is_available() and tensor.device.type == "cpu" else tensor


def read_rows(index: PairIndex) -> Arrays:
    """Return the pairs of an index as arrays, `(pairs, width)` a modality."""
    arrays = index.empty_arrays(len(index))
    _read_all(index, arrays)
    return arrays


def available_memory() -> int:
    """Return the bytes that this machine, or the control group that the process is in, can still give."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _residence(index: PairIndex, device: torch.device, node: NodeGroup) -> Residence:
    if device.type == "cuda" and index.nbytes <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
        fits: Residence = "device"
    else:
        fits = "memory" if index.nbytes <= _SHARE_OF_MEMORY * available_memory() else "stream"
    return node.gather(fits)[0]


def _shared_arrays(index: PairIndex, node: NodeGroup) -> Arrays:
    """Read the index's pairs into anonymous memory that the node's other processes map: nothing is left by a kill."""
    place: str | None = None
    failure: Exception | None = None
    descriptor = os.memfd_create("isoenergy-pairs") if node.rank == 0 else None
    try:
        if descriptor is not None:
            os.truncate(descriptor, index.nbytes)
            place = f"/proc/{os.getpid()}/fd/{descriptor}"
            try:
                _read_all(index, _map(index, place))
            except Exception as error:  # the others wait to be told
                failure = error
        place, failure = node.gather((place, failure))[0]
        if failure is not None:
            raise failure
        assert place is not None
        arrays = _map(index, place)
        node.barrier()
        return arrays
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _map(index: PairIndex, place: str) -> Arrays:
    whole = np.memmap(place, index.dtype, "r+", shape=(len(index) * sum(index.widths.values()),))
    ends = np.cumsum(list(index.widths.values()))[:-1] * len(index)
    parts = zip(index.widths.items(), np.split(whole, ends), strict=True)
    return {name: part.reshape(len(index), width) for (name, width), part in parts}


def _read_all(index: PairIndex, out: Arrays) -> None:
    reader = ShardReader(index)

    def fill(number: int) -> None:
        low, high = index.starts[number : number + 2]
        reader.read(number).copy(np.arange(high - low), out, slice(low, high))

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(fill, range(len(index.shards))))
