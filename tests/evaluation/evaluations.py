"""Stores of given pairs, SAEs with given atoms, and what an evaluation of them finds."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import Split, split_of
from isoenergy.report.page import gap_drawing
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.storage import strict_json
from isoenergy.store import StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema
from tests.store.small_store import FILES, MANIFEST
from workflows import evaluate
from workflows.evaluate import EvaluateConfig
from workflows.steps import step_plan
from workflows.steps.step_plan import PlannedStep


def keys_of(split: Split) -> "count[str]":
    """Yield keys of pairs of a split."""
    return (key for key in map(str, count()) if split_of(key) == split)  # type: ignore[return-value]


def write_pairs(
    folder: Path,
    images: np.ndarray,
    texts: np.ndarray,
    rows_a_unit: int = 60,
    captions: Sequence[str] | None = None,
    split: Split = "test",
    source: Path | None = None,
    train: int = 0,
) -> Path:
    """Write a store of `(n, dim)` float32 pairs, all of one split, so many in a unit.

    train: the first so many pairs are of the train split instead.
    source: a folder with `pairs.parquet`, or None, which is there no more.
    """
    pairs, dim = images.shape
    starts = range(0, pairs, rows_a_unit)
    writer = StoreWriter(str(folder))
    manifest = replace(MANIFEST, dim=dim, units=len(starts), source=str(source or folder / "gone"), dtype="float32")
    writer.begin(manifest, FILES)
    keys = [*islice(keys_of("train"), train), *islice(keys_of(split), pairs - train)]
    splits = ["train"] * train + [split] * (pairs - train)
    schema = shard_schema(dim, "float32", pa.schema([]))
    for start in starts:
        rows = slice(start, min(start + rows_a_unit, pairs))
        columns = {
            "key": keys[rows],
            "row": list(range(rows.start, rows.stop)),
            "split": splits[rows],
            "caption": list(captions[rows]) if captions else keys[rows],
            "image": pa.FixedSizeListArray.from_arrays(images[rows].astype(np.float32).ravel(), dim),
            "text": pa.FixedSizeListArray.from_arrays(texts[rows].astype(np.float32).ravel(), dim),
        }
        shard = pa.table(columns, schema=schema)
        writer.commit(PairUnit("pairs.parquet", rows.start, rows.stop), "digest", shard, REJECTED.empty_table())
    return folder


def shifted_pairs(pairs: int, dim: int, seed: int = 0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share all but noise and a constant along the first axis."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(pairs, dim))
    image, text = (shared + noise * generator.normal(size=shared.shape) + side * np.eye(dim)[0] for side in (1.5, -1.5))
    return image, text


def write_sae(folder: Path, config: SaeConfig, seed: int = 0) -> Path:
    """Save an SAE with random atoms."""
    sae = SparseAutoencoder(config, torch.Generator().manual_seed(seed))
    if config.input == "centred":
        sae.image_mean[0], sae.text_mean[0] = 0.3, -0.4
    sae.save(folder)
    return folder


def run_steps_here(monkeypatch: pytest.MonkeyPatch, drawn: bool = False) -> None:
    """Steps run one after the other in this process: what they compute does not depend on who runs them.

    drawn: MLflow gets the figure that takes a good part of a small evaluation's time, and not an empty file.
    """

    def run(planned: list[PlannedStep], root: str | Path, _what: str, *_: Any) -> None:
        step_plan.run_here(planned, root)

    monkeypatch.setattr(evaluate, "run_on_ray", run)
    monkeypatch.setattr(evaluate.engine, "connect", lambda **_: {})
    if not drawn:
        monkeypatch.setattr(gap_drawing, "as_bytes", lambda *_: b"")


def evaluated(store: Path, saes: Sequence[Path], output: Path, **options: Any) -> dict[str, Any]:
    """Evaluate and return evaluation.json."""
    file = evaluate.run(EvaluateConfig(str(store), tuple(map(str, saes)), str(output), **options))
    assert file is not None
    return strict_json.loads(Path(file).read_text())
