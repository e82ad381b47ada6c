"""What a training reads: looked at once, on all of the cluster, before the first step."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split
from isoenergy.settings.residence import Residence
from isoenergy.storage.files import open_filesystem, without_secrets, write_atomically
from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import Batches, PairBatches, UnpairedBatches
from isoenergy.store.index import PairIndex, Survey, survey_shards
from isoenergy.store.kept_survey import keep_survey, kept_survey
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import open_rows
from isoenergy.store.shards import Shards
from isoenergy.training.trainer import RawPairs
from isoenergy.training.training_config import TrainingConfig
from workflows.training.training_engine import TrainingEngine
from workflows.training.training_stores import TrainingStores

_LOG = logging.getLogger(__name__)
_SHARDS_A_TASK = 16


def prepare_indices(
    stores: TrainingStores,
    opened: Mapping[str, EmbeddingStore],
    output: str,
    skip_bad_rows: bool,
    engine: TrainingEngine,
) -> list[PairIndex]:
    """Survey the train split of the stores, as far as that was not done before, and leave the indices in `output`.

    opened: the stores by their URI. engine: what shards are looked at on.
    Raises InputError, naming shard and row, for what cannot be trained on.
    """
    filesystem, root = open_filesystem(output)
    indices = []
    for name, uri, modalities in stores.parts():
        store = opened[uri]
        index = _known(filesystem, f"{root}/{name}", store, skip_bad_rows)
        if index is None:
            survey = _survey(store, modalities, engine)
            index = PairIndex.collect(store, "train", [survey], skip_bad_rows)
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


@dataclass(frozen=True)
class FirstShards:
    """Where some pairs of a split of a store are read from."""

    shards: Shards
    split: Split
    names: tuple[str, ...]
    """Of the first shards that have some, with twice as many as are wanted: bad ones are left out."""


def first_shards(
    stores: TrainingStores, opened: Mapping[str, EmbeddingStore], split: Split, most: int
) -> tuple[FirstShards, ...]:
    """Return where `most` pairs of a split of each store are read from; none if a store has no such pairs."""
    found = []
    for _, uri, modalities in stores.parts():
        store, names, pairs = opened[uri], [], 0
        for record in store.commits:
            if pairs >= 2 * most:
                break
            if its := record.pairs_in(split):
                names.append(record.shard)
                pairs += its
        found.append(FirstShards(_read_of(store, modalities), split, tuple(names)))
    return tuple(found) if all(part.names for part in found) else ()


def first_pairs(parts: Sequence[FirstShards], most: int) -> RawPairs | None:
    """Return the first pairs of a split that can be used, `most` at most; None if there are none."""
    found = [rows for part in parts for rows in _first_rows(part, most)]
    return tuple(found) if found and all(map(len, found)) else None


def _first_rows(part: FirstShards, most: int) -> list[torch.Tensor]:
    """The first pairs that are good in all of the modalities that are read, `(pairs, width)` each."""
    widths = part.shards.widths
    found: dict[str, list[np.ndarray]] = {name: [np.empty((0, width), np.float32)] for name, width in widths.items()}
    pairs = 0
    for shard in part.names:
        if pairs >= most:
            break
        rows = {name: its.astype(np.float32) for name, its in part.shards.vectors(shard, part.split).items()}
        good = np.all([np.isfinite(its).all(1) & (its != 0).any(1) for its in rows.values()], axis=0)
        pairs += int(good.sum())
        for name, its in rows.items():
            found[name].append(its[good])
    return [torch.from_numpy(np.concatenate(parts)[:most]) for parts in found.values()]


def _read_of(store: EmbeddingStore, modalities: Sequence[str]) -> Shards:
    there = store.manifest.modalities
    if missing := [name for name in modalities if name not in there]:
        raise InputError(f"{store.uri} has no {', '.join(missing)}; it has {', '.join(there)}")
    return replace(store.shards, widths={name: there[name] for name in modalities or there})


def _known(filesystem: Any, path: str, store: EmbeddingStore, skip_bad_rows: bool) -> PairIndex | None:
    try:
        index = PairIndex.from_json(filesystem.cat_file(path).decode())
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None
    return index if index.fingerprint == store.fingerprint and (skip_bad_rows or not index.skipped) else None


def _survey(store: EmbeddingStore, modalities: Sequence[str], engine: TrainingEngine) -> Survey:
    """Return the survey of all shards: what the store keeps of it, and what is looked at now, which it keeps too."""
    shards, given = _read_of(store, modalities), store.manifest.splits_given
    known = kept_survey(store, "train", list(shards.widths)) or Survey([], {})
    there = {shard.shard for shard in known.shards}
    records = [record for record in store.commits if record.shard not in there]
    if not records:
        return known
    tasks = [
        (shards, records[start : start + _SHARDS_A_TASK], "train", given)
        for start in range(0, len(records), _SHARDS_A_TASK)
    ]
    surveys = [known] if there else []
    with tqdm(total=len(records), desc="check", unit=" shards", leave=False) as bar:
        for survey in engine.each(survey_shards, tasks):
            bar.update(len(survey.shards))
            surveys.append(survey)
    whole = Survey.joined(surveys)
    try:
        keep_survey(store, "train", list(shards.widths), whole)
    except OSError as error:
        _LOG.warning(
            "train: what was found in %s cannot be kept there (%s): the next training looks at it again",
            without_secrets(store.uri),
            error,
        )
    return whole
