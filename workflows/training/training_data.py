"""What a training reads: looked at once, on all of the cluster, before the first step."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split
from isoenergy.settings.residence import Residence
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import Batches, PairBatches, UnpairedBatches
from isoenergy.store.index import PairIndex, Survey, survey_shards
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import open_rows
from isoenergy.training.trainer import RawPairs
from isoenergy.training.training_config import TrainingConfig
from workflows.training.training_engine import TrainingEngine
from workflows.training.training_stores import TrainingStores

_SHARDS_A_TASK = 16


def prepare_indices(
    stores: TrainingStores, output: str, skip_bad_rows: bool, engine: TrainingEngine
) -> list[PairIndex]:
    """Survey the train split of the stores, unless that was done before, and leave the indices in `output`.

    engine: what shards are looked at on.
    Raises InputError, naming shard and row, for what cannot be trained on.
    """
    filesystem, root = open_filesystem(output)
    indices = []
    for name, uri, modalities in stores.parts():
        store = EmbeddingStore.open(uri)
        index = _known(filesystem, f"{root}/{name}", store, skip_bad_rows)
        if index is None:
            surveys = _surveys(store, modalities, engine)
            index = PairIndex.collect(store, "train", surveys, skip_bad_rows)
            write_atomically(filesystem, f"{root}/{name}", index.to_json().encode())
        indices.append(index)
    if len({index.dim for index in indices}) > 1:
        raise InputError(f"images and texts must have one width, got {' and '.join(str(i.dim) for i in indices)}")
    return indices


def read_indices(stores: TrainingStores, output: str) -> list[PairIndex]:
    """Return the indices that `prepare_indices` left in `output`."""
    filesystem, root = open_filesystem(output)
    return [PairIndex.from_json(filesystem.cat_file(f"{root}/{name}").decode()) for name, _, _ in stores.parts()]


def open_batches(
    indices: list[PairIndex],
    config: TrainingConfig,
    residence: Residence,
    device: torch.device,
    node: NodeGroup,
    rank: int,
    workers: int,
) -> Batches:
    """Return a worker's batches; all of a node's workers must call it together."""
    if config.null:
        index = indices[0]
        rows = [open_rows(index.only(modality), residence, device, node) for modality in index.widths]
        order = PairOrder(index.starts, config.batch_pairs, config.seed, config.window_pairs)
        return UnpairedBatches.shuffled(order, *rows, rank=rank, workers=workers)
    parts = []
    for number, index in enumerate(indices):
        # each store of unpaired rows has an order of its own
        order = PairOrder(index.starts, config.batch_pairs, config.seed + number * 2**32, config.window_pairs)
        parts.append(PairBatches(order, open_rows(index, residence, device, node), rank, workers))
    return UnpairedBatches(tuple(parts)) if len(parts) > 1 else parts[0]


def widths_of(indices: list[PairIndex]) -> dict[str, int]:
    """Return each modality's width, in the order in which batches have them."""
    return {name: width for index in indices for name, width in index.widths.items()}


def means_of(indices: list[PairIndex]) -> dict[str, torch.Tensor]:
    """Return the mean unit row of each modality, `(width,)` float32."""
    return {name: torch.tensor(mean) for index in indices for name, mean in index.means.items()}


def first_pairs(stores: TrainingStores, split: Split, most: int) -> RawPairs | None:
    """Return the first pairs of a split that can be used, `most` at most; None if there are none."""
    found: list[torch.Tensor] = []
    for _, uri, modalities in stores.parts():
        found += _first_rows(EmbeddingStore.open(uri), split, modalities, most)
    return tuple(found) if all(map(len, found)) else None


def _first_rows(store: EmbeddingStore, split: Split, modalities: Sequence[str], most: int) -> list[torch.Tensor]:
    """The first pairs that are good in all of some modalities, `(pairs, width)` each; none named: in all there are."""
    widths = _read_of(store, modalities)
    found: dict[str, list[np.ndarray]] = {name: [np.empty((0, width), np.float32)] for name, width in widths.items()}
    pairs = 0
    for record in store.commits:
        if pairs >= most:
            break
        if record.embedded_by_split.get(split):
            vectors = store.read_unit_vectors(record.unit, split)
            rows = {name: vectors[name].astype(np.float32) for name in widths}
            good = np.all([np.isfinite(part).all(1) & (part != 0).any(1) for part in rows.values()], axis=0)
            pairs += int(good.sum())
            for name, part in rows.items():
                found[name].append(part[good])
    return [torch.from_numpy(np.concatenate(parts)[:most]) for parts in found.values()]


def _read_of(store: EmbeddingStore, modalities: Sequence[str]) -> dict[str, int]:
    there = store.manifest.modalities
    if missing := [name for name in modalities if name not in there]:
        raise InputError(f"{store.uri} has no {', '.join(missing)}; it has {', '.join(there)}")
    return {name: there[name] for name in modalities or there}


def _known(filesystem: Any, path: str, store: EmbeddingStore, skip_bad_rows: bool) -> PairIndex | None:
    try:
        index = PairIndex.from_json(filesystem.cat_file(path).decode())
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
    return index if index.fingerprint == store.fingerprint and (skip_bad_rows or not index.skipped) else None


def _surveys(store: EmbeddingStore, modalities: Sequence[str], engine: TrainingEngine) -> Iterator[Survey]:
    """Yield the surveys of all shards in the store's order."""
    widths, given = _read_of(store, modalities), store.manifest.splits_given
    tasks = [
        (store.uri, widths, store.commits[start : start + _SHARDS_A_TASK], "train", given)
        for start in range(0, len(store.commits), _SHARDS_A_TASK)
    ]
    with tqdm(total=len(store.commits), desc="check", unit=" shards", leave=False) as bar:
        for survey in engine.each(survey_shards, tasks):
            bar.update(len(survey.shards))
            yield survey
