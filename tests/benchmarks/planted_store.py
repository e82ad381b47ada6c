"""Embeddings with planted concepts and a gap, and a store of them: as many as a benchmark needs, in seconds."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import Split, split_of
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema

_CONCEPTS, _ACTIVE = 2048, 12
_SHARED, _OWN = 8, 4
_COMMONEST, _FALL = 10, 0.8
_NOISE = 0.15


def planted_pairs(pairs: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return `(pairs, dim)` float16 images and texts: shared concepts, a constant of each modality, and noise."""
    generator = np.random.default_rng(seed)
    concepts = generator.normal(size=(_CONCEPTS, dim)).astype(np.float32)
    concepts /= np.linalg.norm(concepts, axis=1, keepdims=True)
    constants = generator.normal(size=(2, dim)).astype(np.float32)
    constants /= np.linalg.norm(constants, axis=1, keepdims=True)
    both = []
    shared = generator.integers(0, _CONCEPTS, (pairs, _ACTIVE))
    weights = generator.exponential(size=(pairs, _ACTIVE)).astype(np.float32)
    for constant in constants:
        rows = np.empty((pairs, dim), np.float16)
        for start in range(0, pairs, 8192):
            part = slice(start, start + 8192)
            mixed = np.einsum("pk,pkd->pd", weights[part], concepts[shared[part]]) + 2 * constant
            mixed += 0.03 * generator.normal(size=mixed.shape).astype(np.float32)
            rows[part] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        both.append(rows)
    return both[0], both[1]


def planted_modalities(pairs: int, dim: int, concepts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Return `(pairs, dim)` float16 images and texts, and the `(concepts, dim)` unit atoms that they are made of.

    Half of the atoms are shared, a quarter is of images and a quarter of texts alone, the first of which is in each.
    The others' frequencies fall with their rank, as those of real concepts do: few are common, most are rare.
    """
    generator = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(concepts, dim, generator=generator), dim=1)
    half, quarter = concepts // 2, concepts // 4
    rows = [np.empty((pairs, dim), np.float16) for _ in range(2)]
    for start in range(0, pairs, 8192):
        part = slice(start, min(start + 8192, pairs))
        size = part.stop - part.start
        shared = _drawn(half, (size, _SHARED), generator)
        strengths = torch.empty(size, _SHARED).exponential_(generator=generator)
        for modality, both in enumerate(rows):
            own = _drawn(quarter, (size, _OWN), generator)
            own[:, 0] = 0
            weights = torch.empty(size, _OWN).exponential_(generator=generator)
            weights[:, 0] = 2
            mixed = embedding_bag(
                torch.cat([shared, half + modality * quarter + own], 1),
                atoms,
                per_sample_weights=torch.cat([strengths, weights], 1),
                mode="sum",
            )
            noise = normalize(torch.randn(mixed.shape, generator=generator), dim=1)
            both[part] = normalize(normalize(mixed, dim=1) + _NOISE * noise, dim=1).half().numpy()
    return rows[0], rows[1], atoms


def _drawn(concepts: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    frequency = (torch.arange(concepts) + _COMMONEST).float() ** -_FALL
    return torch.multinomial(frequency, shape[0] * shape[1], replacement=True, generator=generator).view(shape)


def write_planted_store(
    place: Path, images: np.ndarray, texts: np.ndarray, pairs_a_shard: int = 2048, split: Split | None = None
) -> Path:
    """Write a store of these pairs and return its place; split: only keys that fall into it."""
    pairs, dim = images.shape
    units = -(-pairs // pairs_a_shard)
    manifest = Manifest(
        encoder="planted",
        encoder_digest="0" * 64,
        preprocessing={},
        dim=dim,
        dtype="float16",
        precision="float32",
        source="planted",
        source_images="",
        source_format="parquet",
        columns={"key": "key", "image": "image", "caption": "caption"},
        passed_through={},
        rows_per_unit=pairs_a_shard,
        batch_rows=pairs_a_shard,
        units=units,
        software={},
    )
    writer = StoreWriter(str(place))
    writer.begin(manifest, ["planted.parquet"])
    names = _keys(split)
    for start in range(0, pairs, pairs_a_shard):
        rows = range(start, min(start + pairs_a_shard, pairs))
        keys = [next(names) for _ in rows]
        vectors = [
            pa.FixedSizeListArray.from_arrays(part[rows.start : rows.stop].ravel(), dim) for part in (images, texts)
        ]
        columns = [keys, list(rows), [split_of(key) for key in keys], keys, *vectors]
        table = pa.table(columns, schema=shard_schema(dim, "float16", pa.schema([])))
        writer.commit(PairUnit("planted.parquet", rows.start, rows.stop), "planted", table, REJECTED.empty_table())
    return place


def _keys(split: Split | None) -> Iterator[str]:
    for number in count():
        key = f"{number:09d}"
        if split is None or split_of(key) == split:
            yield key
