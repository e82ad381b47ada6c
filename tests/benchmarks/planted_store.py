"""Embeddings with planted concepts and a gap, and a store of them: as many as a benchmark needs, in seconds."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import split_of
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema

_CONCEPTS, _ACTIVE = 2048, 12


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


def write_planted_store(place: Path, images: np.ndarray, texts: np.ndarray, pairs_a_shard: int = 2048) -> Path:
    """Write a store of these pairs and return its place."""
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
    for start in range(0, pairs, pairs_a_shard):
        rows = range(start, min(start + pairs_a_shard, pairs))
        keys = [f"{row:09d}" for row in rows]
        vectors = [
            pa.FixedSizeListArray.from_arrays(part[rows.start : rows.stop].ravel(), dim) for part in (images, texts)
        ]
        columns = [keys, list(rows), [split_of(key) for key in keys], keys, *vectors]
        table = pa.table(columns, schema=shard_schema(dim, "float16", pa.schema([])))
        writer.commit(PairUnit("planted.parquet", rows.start, rows.stop), "planted", table, REJECTED.empty_table())
    return place
