"""Vectors in the files of others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.store import EmbeddingStore
from isoenergy.store.vector_sources import open_vectors
from workflows.training.vector_stores import VectorCopy

WIDTH = 16


def vectors(rows: int, seed: int, dtype: str = "float16") -> np.ndarray:
    """Return `(rows, WIDTH)`."""
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(dtype)


def write_clip_retrieval(folder: Path, counts: Sequence[int], dtype: str = "float16", digits: int = 0) -> Path:
    """Write what clip-retrieval's `clip_inference` writes: a shard for each of `counts`, its number 0-padded."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    first = 0
    for shard, rows in enumerate(counts):
        number = f"{shard:0{digits}d}"
        np.save(folder / f"img_emb/img_emb_{number}.npy", vectors(rows, 2 * shard, dtype))
        np.save(folder / f"text_emb/text_emb_{number}.npy", vectors(rows, 2 * shard + 1, dtype))
        numbers = range(first, first + rows)
        columns = {
            "image_path": [f"{row:09d}" for row in numbers],
            "caption": [f"picture {row}" for row in numbers],
            "url": [f"https://example.org/{row}.jpg" for row in numbers],
            "similarity": [row / 10 for row in numbers],
        }
        pq.write_table(pa.table(columns), folder / f"metadata/metadata_{number}.parquet")
        first += rows
    return folder


def stored(source: str | Path, tmp_path: Path, key: str = "", **settings: bool) -> EmbeddingStore:
    return VectorCopy(open_vectors(str(source), (), key), str(tmp_path / "store"), **settings).run()


def columns(store: EmbeddingStore) -> pa.Table:
    return pa.concat_tables([store.read_unit(record.unit) for record in store.commits])


def rows_of(table: pa.Table, name: str) -> np.ndarray:
    return np.stack([np.asarray(row) for row in table[name].to_pylist()])
